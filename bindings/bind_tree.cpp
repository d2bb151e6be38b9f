// Tree, whose Python class checks arguments and keeps files (_tree.py, _tree_files.py).
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "arguments.h"
#include "bind.h"
#include "fastsoftmax/tree.hpp"

namespace fastsoftmax::python {

namespace {

using Numbers = py::array_t<std::int64_t, py::array::c_style>;

std::span<const std::int64_t> span_of(const Numbers& numbers) {
  return {numbers.data(), static_cast<std::size_t>(numbers.size())};
}

// Makes a tree without the GIL.
template <class Make>
Tree made(Make make) {
  const py::gil_scoped_release release;
  return make();
}

Tree huffman(const Numbers& counts) {
  return made([values = span_of(counts)] { return Tree::huffman(values); });
}

Tree balanced(const py::object& num_leaves) {
  return made(
      [leaves = read_int(num_leaves.ptr(), "num_leaves")] { return Tree::balanced(leaves); });
}

Tree from_parents(const Numbers& parents, const std::optional<Numbers>& codes,
                  const py::object& is_binary) {
  std::optional<std::span<const std::int64_t>> given;
  if (codes) given = span_of(*codes);
  std::optional<bool> binary;
  if (!is_binary.is_none()) binary = read_flag(is_binary.ptr());
  return made(
      [ids = span_of(parents), given, binary] { return Tree::from_parents(ids, binary, given); });
}

Tree from_paths(const Numbers& nodes, const Numbers& codes, const Numbers& offsets) {
  return made([n = span_of(nodes), c = span_of(codes), o = span_of(offsets)] {
    return Tree::from_paths(n, c, o);
  });
}

Tree from_clusters(const Numbers& labels) {
  return made([values = span_of(labels)] { return Tree::from_clusters(values); });
}

Numbers of_ids(const Tree& tree, std::int64_t (*value)(const Tree&, Tree::Id)) {
  Numbers result(tree.num_leaves() + tree.num_nodes());
  std::int64_t* const out = result.mutable_data();
  for (std::int64_t id = 0; id < result.size(); ++id)
    out[id] = value(tree, static_cast<Tree::Id>(id));
  return result;
}

Numbers parents(const Tree& tree) {
  return of_ids(tree, [](const Tree& t, Tree::Id id) {
    const Tree::Id node = t.parent(id);
    return node == Tree::kNone ? std::int64_t{-1} : t.num_leaves() + node;
  });
}

Numbers codes(const Tree& tree) {
  return of_ids(tree, [](const Tree& t, Tree::Id id) -> std::int64_t { return t.code(id); });
}

Numbers depths(const Tree& tree, const Numbers& leaves) {
  Numbers result(leaves.size());
  std::ranges::transform(span_of(leaves), result.mutable_data(),
                         [&](std::int64_t leaf) { return tree.depth(leaf); });
  return result;
}

py::tuple paths(const Tree& tree) {
  const std::int64_t leaves = tree.num_leaves();
  Numbers offsets(leaves + 1);
  std::int64_t* const ends = offsets.mutable_data();
  ends[0] = 0;
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) ends[leaf + 1] = ends[leaf] + tree.depth(leaf);
  Numbers nodes(ends[leaves]);
  Numbers codes(ends[leaves]);
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    const auto length = static_cast<std::size_t>(ends[leaf + 1] - ends[leaf]);
    tree.path(leaf, {nodes.mutable_data() + ends[leaf], length},
              {codes.mutable_data() + ends[leaf], length});
  }
  return py::make_tuple(nodes, codes, offsets);
}

}  // namespace

void register_tree(py::module_& module) {
  // The plain metaclass is what the type stub can name.
  py::class_<Tree>(module, "_Tree", py::metaclass(reinterpret_cast<PyObject*>(&PyType_Type)),
                   "The structure of a fastsoftmax.Tree.")
      .def_static("huffman", &huffman, py::arg("counts"))
      .def_static("balanced", &balanced, py::arg("num_leaves"))
      .def_static("from_parents", &from_parents, py::arg("parents"), py::arg("codes"),
                  py::arg("binary"))
      .def_static("from_paths", &from_paths, py::arg("nodes"), py::arg("codes"), py::arg("offsets"))
      .def_static("from_clusters", &from_clusters, py::arg("labels"))
      .def("num_leaves", &Tree::num_leaves)
      .def("num_nodes", &Tree::num_nodes)
      .def("num_weights", &Tree::num_weights)
      .def("is_binary", &Tree::is_binary)
      .def("max_depth", &Tree::max_depth)
      .def("depths", &depths, py::arg("leaves"))
      .def("parents", &parents)
      .def("codes", &codes)
      .def("paths", &paths)
      .def("equals", [](const Tree& a, const Tree& b) { return a == b; }, py::arg("other"));
}

}  // namespace fastsoftmax::python
