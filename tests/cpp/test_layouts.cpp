// Random shapes, axes, strides, types, masks and temperatures against a plain loop over the rows.
#include <numeric>

#include "run.h"

using namespace tests;

namespace {

constexpr fs::DType kAllTypes[] = {
    fs::DType::f16, fs::DType::bf16, fs::DType::f32,    fs::DType::f64, fs::DType::i8,
    fs::DType::i16, fs::DType::i32,  fs::DType::i64,    fs::DType::u8,  fs::DType::u16,
    fs::DType::u32, fs::DType::u64,  fs::DType::boolean};

Shape random_shape(Random& random) {
  Shape shape(static_cast<std::size_t>(1 + random.below(5)));
  std::int64_t elements = 1;
  for (std::int64_t& size : shape) {
    size = random.chance(0.03) ? 0 : 1 + random.below(6);
    elements *= std::max<std::int64_t>(size, 1);
  }
  if (elements < 40 && random.chance(0.5))
    shape[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(shape.size())))] =
        1 + random.below(random.chance(0.1) ? 2500 : 300);
  return shape;
}

// Axes in any order in memory, with gaps between elements, backwards, and for inputs broadcast.
Array random_array(Random& random, fs::DType dtype, const Shape& shape, bool may_repeat) {
  Shape order(shape.size());
  std::iota(order.begin(), order.end(), 0);
  if (random.chance(0.5))
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1],
                order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
  const bool ordinary = random.chance(0.3);
  Shape strides(shape.size());
  std::int64_t step = fs::itemsize(dtype);
  if (!ordinary && random.chance(0.2)) step += 1;  // unaligned elements
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto axis = static_cast<std::size_t>(order[i]);
    if (!ordinary && random.chance(0.2)) step += fs::itemsize(dtype) * random.below(4);
    strides[axis] = !ordinary && random.chance(0.2) ? -step : step;
    if (may_repeat && random.chance(0.05)) {
      strides[axis] = 0;
      continue;
    }
    step *= std::max<std::int64_t>(shape[axis], 1);
  }
  Array a = strided(dtype, shape, strides, static_cast<std::size_t>(random.below(3)) * 32);
  a.byteswapped = random.chance(0.15);
  return a;
}

void fill(Random& random, Array& a) {
  const std::size_t item = item_bytes(a.dtype);
  for_each_element(a, [&](std::size_t at) {
    unsigned char element[8];
    if (fs::is_floating(a.dtype)) {
      double v = 3.0 * random.normal();
      if (random.chance(0.002)) v = std::numeric_limits<double>::quiet_NaN();
      if (random.chance(0.02)) v = random.chance(0.05) ? kInfinity : -kInfinity;
      put(a.dtype, element, v);
    } else if (a.dtype == fs::DType::boolean) {
      element[0] = random.chance(0.5) ? 1 : 0;
    } else {
      // Two's complement of small numbers, and now and then any bits.
      store_as(element, random.chance(0.01) ? random.bits()
                                            : static_cast<std::uint64_t>(random.below(40) - 20));
    }
    copy_element(a.bytes.data() + at, element, item, a.byteswapped);
  });
}

// A shape that broadcasts to `shape`, of length 1 along the axes in `ones`.
Shape broadcastable(Random& random, const Shape& shape, const std::vector<bool>& ones) {
  Shape result = shape;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (ones[i] || random.chance(0.3)) result[i] = 1;
  while (!result.empty() && result[0] == 1 && random.chance(0.5)) result.erase(result.begin());
  return result;
}

// The element's offset at a position of the array that `a` broadcasts to.
std::size_t offset_at(const Array& a, const Shape& position) {
  auto at = static_cast<std::int64_t>(a.offset);
  const std::size_t skip = position.size() - a.shape.size();
  for (std::size_t i = 0; i < a.shape.size(); ++i)
    if (a.shape[i] != 1) at += position[skip + i] * a.strides[i];
  return static_cast<std::size_t>(at);
}

void read(const Array& a, const Shape& position, unsigned char* element) {
  copy_element(element, a.bytes.data() + offset_at(a, position), item_bytes(a.dtype),
               a.byteswapped);
}

struct Problem {
  fs::Op op;
  fs::DType dtype;  // of the result
  Array x, out;
  std::vector<bool> reduced;
  std::optional<Array> where, temperature;
  fs::Options options;
};

// f(position) over the axes for which wanted[axis], the others staying as they are.
template <class F>
void for_each_position(const Shape& shape, const std::vector<bool>& wanted, Shape& position, F&& f,
                       std::size_t axis = 0) {
  if (axis == shape.size()) return f();
  if (!wanted[axis]) return for_each_position(shape, wanted, position, f, axis + 1);
  for (position[axis] = 0; position[axis] < shape[axis]; ++position[axis])
    for_each_position(shape, wanted, position, f, axis + 1);
  position[axis] = 0;
}

// The row through the current position, in the arithmetic type.
Bytes gather_row(const Problem& p, Shape& position, fs::DType arithmetic) {
  Bytes row;
  for_each_position(p.x.shape, p.reduced, position, [&] {
    unsigned char element[8];
    read(p.x, position, element);
    unsigned char converted[8];
    put(p.dtype, converted, get(p.x.dtype, element));
    auto v = static_cast<double>(get(p.dtype, converted));
    if (p.where) {
      read(*p.where, position, element);
      if (element[0] == 0) v = -kInfinity;
    }
    double t = p.options.temperature;
    if (p.temperature) {
      read(*p.temperature, position, element);
      t = load<double>(element);
    }
    v = arithmetic == fs::DType::f64
            ? v / t
            : static_cast<double>(static_cast<float>(v) / static_cast<float>(t));
    row.resize(row.size() + item_bytes(arithmetic));
    put(arithmetic, &row[row.size() - item_bytes(arithmetic)], v);
  });
  return row;
}

// All of out's memory as it must be afterwards.
Bytes expected_memory(const Problem& p) {
  Bytes memory = p.out.bytes;
  const bool reduces = p.op == fs::Op::logsumexp;
  const fs::DType arithmetic = p.dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  std::vector<bool> outer = p.reduced;
  outer.flip();
  fs::Options options = with(fs::Algorithm::three_pass_recompute);
  options.empty = p.options.empty;
  Shape position(p.x.shape.size());
  for_each_position(p.x.shape, outer, position, [&] {
    const Bytes y = run_row(p.op, arithmetic, gather_row(p, position, arithmetic), options);
    const unsigned char* from = y.data();
    const auto place = [&] {
      unsigned char element[8];
      put(p.dtype, element, static_cast<double>(get(arithmetic, from)));
      from += item_bytes(arithmetic);
      copy_element(memory.data() + offset_at(p.out, position), element, item_bytes(p.dtype),
                   p.out.byteswapped);
    };
    if (reduces) return place();
    for_each_position(p.x.shape, p.reduced, position, place);
  });
  return memory;
}

std::string text(const Problem& p) {
  std::string s = describe(p.op, p.dtype, p.options.algorithm) + " of " +
                  std::string(fs::name(p.x.dtype)) + ", shape (";
  for (std::size_t i = 0; i < p.x.shape.size(); ++i)
    s += std::to_string(p.x.shape[i]) + (p.reduced[i] ? "*" : "") + " @" +
         std::to_string(p.x.strides[i]) + "->" + std::to_string(p.out.strides[i]) + ", ";
  return s + ")" + (p.where ? " where" : "") + (p.temperature ? " temperatures" : "") +
         (p.x.byteswapped ? " swapped" : "") + (p.out.byteswapped ? " to swapped" : "");
}

void check_random_problem(Tally& tally, Random& random) {
  Problem p{};
  p.op = kOps[static_cast<std::size_t>(random.below(3))];
  const fs::DType x_type = kAllTypes[random.below(13)];
  p.dtype = fs::result_dtype(x_type);
  if (random.chance(0.3)) p.dtype = kFloatTypes[static_cast<std::size_t>(random.below(4))];
  const Shape shape = random_shape(random);
  const auto ndim = static_cast<int>(shape.size());
  std::vector<int> axes;
  Shape out_shape = shape;
  for (int i = 0; i < ndim; ++i) {
    p.reduced.push_back(random.chance(ndim == 1 ? 0.9 : 0.5));
    if (!p.reduced.back()) continue;
    axes.push_back(random.chance(0.5) ? i : i - ndim);
    if (p.op == fs::Op::logsumexp) out_shape[static_cast<std::size_t>(i)] = 1;
  }
  if (random.chance(0.5)) std::reverse(axes.begin(), axes.end());
  p.x = random_array(random, x_type, shape, true);
  fill(random, p.x);
  p.out = random_array(random, p.dtype, out_shape, false);
  p.options.algorithm = static_cast<fs::Algorithm>(random.below(5));
  if (random.chance(0.5)) p.options.empty = fs::EmptyRow::zero;
  if (p.dtype != fs::result_dtype(x_type)) p.options.dtype = p.dtype;
  if (random.chance(0.3)) {
    const std::vector<bool> none(shape.size());
    p.where = random_array(random, fs::DType::boolean, broadcastable(random, shape, none), true);
    fill(random, *p.where);
    p.options.where = p.where->view();
  }
  if (random.chance(0.2)) {
    p.temperature =
        random_array(random, fs::DType::f64, broadcastable(random, shape, p.reduced), true);
    p.temperature->byteswapped = false;
    for_each_element(*p.temperature, [&](std::size_t at) {
      store_as(p.temperature->bytes.data() + at, 0.3 + random.uniform());
    });
    p.options.temperatures = p.temperature->view();
  } else if (random.chance(0.2)) {
    p.options.temperature = 0.3 + random.uniform();
  }
  const Bytes expected = expected_memory(p);
  apply(p.op, p.x.view(), p.out.out(), axes, p.options);
  tally.expect(p.out.bytes == expected, [&] { return text(p); });
}

}  // namespace

TEST_CASE("layouts: random problems against a plain loop") {
  Tally tally;
  Random random(21);
  for (int i = 0; i < 6000; ++i) check_random_problem(tally, random);
  CHECK(tally.checked() == 6000);
}
