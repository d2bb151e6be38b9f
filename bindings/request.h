// The arguments of one call of softmax, log_softmax or logsumexp, checked and ready for the core.
#pragma once

#include <pybind11/numpy.h>

#include <initializer_list>

#include "arguments.h"
#include "fastsoftmax/softmax.hpp"

namespace fastsoftmax::python {

// Elements from which on other Python threads may run meanwhile. Giving the GIL up and taking it
// back costs 0.1 us, and up to 5 ms where another thread is busy; this many elements take 10 us or
// more.
inline constexpr std::int64_t gil_threshold = 1 << 15;

// A result for the operand x as its caller gets it: of the kind of x, and a NumPy scalar where
// `scalar` and x is no tensor or subclass.
py::object hand_back(const Operand& x, const py::object& result, DType dtype, bool scalar = false);

// A new array for a result for the operand x that is laid out as `result`, without the axes marked
// in `dropped`; sets result.data.
py::array new_result(const Operand& x, ArrayView& result, std::span<const bool> dropped = {});

// Likewise, dense in C order.
py::object new_dense_result(const Operand& x, std::initializer_list<std::int64_t> shape,
                            DType dtype, ArrayView& result);

// The caller's output, now that it has been written.
py::object hand_back_output(const Operand& output);

// Borrowed from the caller; nullptr where not passed.
struct RawArguments {
  const char* name = "x";
  PyObject* x = nullptr;
  PyObject* axis = nullptr;
  PyObject* temperature = nullptr;
  PyObject* where = nullptr;
  PyObject* empty = nullptr;
  PyObject* keepdims = nullptr;
  PyObject* out = nullptr;
  PyObject* dtype = nullptr;
  PyObject* algorithm = nullptr;
};

class Request {
 public:
  // Reads everything and plans the result's layout, but allocates no result yet. An output that
  // overlaps an input other than as x itself makes a copy of that input, never of the output.
  Request(Op op, const RawArguments& arguments, bool out_may_keep_dims = false);

  // Views into this object, which must stay where it is.
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  ConstView x() const { return x_.view.as_input(); }
  // Null data where the result is not allocated.
  View result() const { return result_.as_output(); }
  std::span<const int> axes() const { return axes_.span(); }
  const Options& options() const { return options_; }

  // Computes into `out` or a new array and returns what the caller gets.
  py::object compute() {
    return compute([this] { run(); });
  }
  // The same by run().
  template <typename Run>
  py::object compute(Run run) {
    const py::object result = allocate();
    if (x_.view.size() < gil_threshold) {
      run();
    } else {
      const py::gil_scoped_release release;
      run();
    }
    return give(result);
  }
  const Operand& operand() const { return x_; }

 private:
  void read_options(const RawArguments& arguments);
  void lay_out_result();
  void take_output(PyObject* out, bool may_keep_dims);
  void separate_inputs();
  void run() const;
  py::object allocate();
  py::object give(const py::object& result) const;

  Op op_;
  bool keepdims_;
  bool has_temperatures_ = false;
  bool has_where_ = false;
  bool has_output_ = false;
  Operand x_;
  Operand temperatures_;
  Operand where_;
  Operand output_;
  Axes axes_;
  Options options_;
  ArrayView result_;  // reduced axes of logsumexp kept with length 1
};

}  // namespace fastsoftmax::python
