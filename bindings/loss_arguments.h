// Options of losses, as Python passes them.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "fastsoftmax/cross_entropy.hpp"
#include "per_row.h"

namespace fastsoftmax::python {

// Throws TypeError, ValueError.
Reduction read_reduction(PyObject* object);
// Throws TypeError for an array.
double read_number(PyObject* object, const char* name);

// An array of doubles, or a number as one without axes.
struct Doubles {
  Operand operand;
  double number = 0.0;
  bool is_array = false;

  void read(PyObject* object, const char* name);
  ConstView view() const;
};

// Classes, as int64.
struct Classes {
  Operand operand;
  PerRow<std::int64_t> classes;

  void read(PyObject* object, const char* name);
  ConstView view() const;
};

// Borrowed; nullptr where not passed.
struct LossArguments {
  PyObject* weight = nullptr;
  PyObject* ignore_index = nullptr;
  PyObject* label_smoothing = nullptr;
  PyObject* z_loss = nullptr;
  PyObject* softcap = nullptr;
  PyObject* reduction = nullptr;
  PyObject* grad_out = nullptr;
};

// `options` shows what the other members hold.
struct LossOptions {
  CrossEntropyOptions options;

  explicit LossOptions(const LossArguments& arguments);
  LossOptions(const LossOptions&) = delete;
  LossOptions& operator=(const LossOptions&) = delete;

 private:
  Doubles weight_;
  Doubles upstream_;
};

}  // namespace fastsoftmax::python
