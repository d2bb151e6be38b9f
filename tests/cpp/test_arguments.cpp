// Every error of the public interface, its type and its message; a throw leaves `out` untouched.
#include <functional>

#include "fastsoftmax/plan.hpp"
#include "run.h"

using namespace tests;

namespace {

// A call that is right, for tests to spoil.
struct Arguments {
  Array x = dense(fs::DType::f32, {2, 3}, Bytes(24, 0));
  Array out = dense(fs::DType::f32, {2, 3});
  std::vector<int> axes = {1};
  Array where = dense(fs::DType::boolean, {2, 3}, Bytes(6, 1));
  Array temperature = dense(fs::DType::f64, {2, 1}, encode(fs::DType::f64, std::array{1.0, 2.0}));
  bool with_where = false;
  bool with_temperature = false;
  fs::Options options;
};

using Spoil = std::function<void(Arguments&)>;

// "type: message" of what is thrown.
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const fs::InvalidAxis& e) {
    return std::string("InvalidAxis: ") + e.what();
  } catch (const fs::InvalidType& e) {
    return std::string("InvalidType: ") + e.what();
  } catch (const fs::InvalidArgument& e) {
    return std::string("InvalidArgument: ") + e.what();
  } catch (const std::exception& e) {
    return std::string("another: ") + e.what();
  }
  return "";
}

void refuses(const std::string& type, const std::string& message, const Spoil& spoil,
             fs::Op op = fs::Op::softmax) {
  Arguments a;
  spoil(a);
  if (a.with_where) a.options.where = a.where.view();
  if (a.with_temperature) a.options.temperatures = a.temperature.view();
  const Bytes before = a.out.bytes;
  const auto call = [&] { apply(op, a.x.view(), a.out.out(), a.axes, a.options); };
  CHECK(error_of(call) == type + ": " + message);
  CHECK(a.out.bytes == before);
  const auto explain = [&] { fs::explain(op, a.x.view(), a.out.out(), a.axes, a.options); };
  CHECK(error_of(explain) == type + ": " + message);
}

// x and out, 2 x 3, in one memory of 64 bytes, `out` that many bytes behind x.
std::string overlapping(std::size_t distance, fs::DType x_type, fs::Op op = fs::Op::softmax) {
  Bytes memory(64, 0);
  const Shape shape = {2, 3};
  const Shape out_shape = {2, op == fs::Op::logsumexp ? 1 : 3};
  const Shape strides = {12, 4};
  const std::array axes = {1};
  fs::Options options;
  options.dtype = fs::DType::f32;
  return error_of([&] {
    apply(op, {memory.data(), x_type, shape, strides},
          {memory.data() + distance, fs::DType::f32, out_shape, strides}, axes, options);
  });
}

}  // namespace

TEST_CASE("arguments: the call that the others spoil is right") {
  Arguments a;
  a.options.where = a.where.view();
  a.options.temperatures = a.temperature.view();
  apply(fs::Op::softmax, a.x.view(), a.out.out(), a.axes, a.options);
  CHECK(load<float>(a.out.bytes.data()) == doctest::Approx(1.0 / 3));
}

TEST_CASE("arguments: dimensions and shapes") {
  refuses("InvalidArgument", "x has 2 dimensions but 1 strides",
          [](Arguments& a) { a.x.strides.pop_back(); });
  refuses("InvalidArgument", "out has 2 dimensions but 3 strides",
          [](Arguments& a) { a.out.strides.push_back(4); });
  refuses("InvalidArgument", "x has more than 64 dimensions", [](Arguments& a) {
    a.x.shape.assign(65, 1);
    a.x.strides.assign(65, 4);
  });
  refuses("InvalidArgument", "x has a negative length", [](Arguments& a) { a.x.shape[0] = -1; });
  refuses("InvalidArgument", "out has shape (2, 4) for x of shape (2, 3)",
          [](Arguments& a) { a.out.shape[1] = 4; });
  refuses("InvalidArgument", "out has shape (3,) for x of shape (2, 3)", [](Arguments& a) {
    a.out.shape = {3};
    a.out.strides = {4};
  });
  refuses(
      "InvalidArgument", "out has shape (2, 3) for x of shape (2, 3)", [](Arguments&) {},
      fs::Op::logsumexp);
}

TEST_CASE("arguments: axes") {
  refuses("InvalidAxis", "axis 2 is out of bounds for array of dimension 2",
          [](Arguments& a) { a.axes = {2}; });
  refuses("InvalidAxis", "axis -3 is out of bounds for array of dimension 2",
          [](Arguments& a) { a.axes = {0, -3}; });
  refuses("InvalidAxis", "axis 0 is out of bounds for array of dimension 0", [](Arguments& a) {
    a.axes = {0};
    for (Array* array : {&a.x, &a.out}) {
      array->shape = {};
      array->strides = {};
    }
  });
  // NumPy has ValueError for this one, not AxisError.
  refuses("InvalidArgument", "axis -1 is given twice", [](Arguments& a) { a.axes = {1, -1}; });
}

TEST_CASE("arguments: types") {
  refuses("InvalidType", "dtype must be a floating type, got int32",
          [](Arguments& a) { a.options.dtype = fs::DType::i32; });
  refuses("InvalidType", "out has dtype float32, expected float64",
          [](Arguments& a) { a.options.dtype = fs::DType::f64; });
  refuses("InvalidType", "out has dtype float32, expected float64",
          [](Arguments& a) { a.x.dtype = fs::DType::i32; });
  refuses("InvalidType", "where must be boolean, got uint8", [](Arguments& a) {
    a.where.dtype = fs::DType::u8;
    a.with_where = true;
  });
  refuses("InvalidType", "temperature must be float64, got float32", [](Arguments& a) {
    a.temperature.dtype = fs::DType::f32;
    a.with_temperature = true;
  });
}

TEST_CASE("arguments: where and temperature must broadcast") {
  refuses("InvalidArgument", "where of shape (2, 2) does not broadcast to the shape (2, 3) of x",
          [](Arguments& a) {
            a.where.shape = {2, 2};
            a.with_where = true;
          });
  refuses("InvalidArgument", "where of shape (1, 2, 3) does not broadcast to the shape (2, 3) of x",
          [](Arguments& a) {
            a.where.shape = {1, 2, 3};
            a.where.strides = {6, 3, 1};
            a.with_where = true;
          });
  refuses("InvalidArgument", "where has 2 dimensions but 1 strides", [](Arguments& a) {
    a.where.strides = {1};
    a.with_where = true;
  });
  refuses("InvalidArgument",
          "temperature of shape (3, 1) does not broadcast to the shape (2, 3) of x",
          [](Arguments& a) {
            a.temperature.shape = {3, 1};
            a.with_temperature = true;
          });
  refuses("InvalidArgument", "temperature of shape (3,) must have length 1 along the reduced axes",
          [](Arguments& a) {
            a.temperature =
                dense(fs::DType::f64, {3}, encode(fs::DType::f64, std::array{1., 1., 1.}));
            a.with_temperature = true;
          });
}

TEST_CASE("arguments: values of temperature") {
  const std::pair<double, const char*> bad[] = {{0.0, "0"},
                                                {-0.0, "-0"},
                                                {-1.0, "-1"},
                                                {std::nan(""), "nan"},
                                                {kInfinity, "inf"},
                                                {1e-50, "1e-50"},
                                                {0x1p128, "3.402823669209385e+38"}};
  for (const auto& [value, text] : bad) {
    const bool rounded = value > 0 && std::isfinite(value);
    const std::string message = std::string("temperature must be positive and finite") +
                                (rounded ? " once rounded to float32" : "") + ", got " + text;
    refuses("InvalidArgument", message, [&](Arguments& a) { a.options.temperature = value; });
    refuses("InvalidArgument", message, [&](Arguments& a) {
      store_as(a.temperature.bytes.data() + 8, value);
      a.with_temperature = true;
    });
  }
  // Fine in f64, whose arithmetic does not round them away.
  for (const double value : {1e-50, 1e50}) {
    const Array x = dense(fs::DType::f64, {2}, Bytes(16, 0));
    Array out = dense(fs::DType::f64, {2});
    fs::Options options;
    options.temperature = value;
    fs::softmax(x.view(), out.out(), std::array{0}, options);
    CHECK(load<double>(out.bytes.data()) == 0.5);
  }
}

TEST_CASE("arguments: options that no name stands for") {
  refuses("InvalidArgument", "max_threads must not be negative, got -5",
          [](Arguments& a) { a.options.max_threads = -5; });
  refuses("InvalidArgument", "unknown algorithm",
          [](Arguments& a) { a.options.algorithm = static_cast<fs::Algorithm>(77); });
  refuses("InvalidArgument", "unknown value of empty",
          [](Arguments& a) { a.options.empty = static_cast<fs::EmptyRow>(2); });
}

TEST_CASE("arguments: no data") {
  Arguments a;
  fs::ConstView x = a.x.view();
  x.data = nullptr;
  CHECK(error_of([&] { fs::softmax(x, a.out.out(), a.axes, {}); }) ==
        "InvalidArgument: x has no data");
  fs::View out = a.out.out();
  out.data = nullptr;
  CHECK(error_of([&] { fs::softmax(a.x.view(), out, a.axes, {}); }) ==
        "InvalidArgument: out has no data");
  CHECK(error_of([&] { fs::explain(fs::Op::softmax, a.x.view(), out, a.axes); }).empty());
  fs::Options options;
  options.where = a.where.view();
  options.where->data = nullptr;
  CHECK(error_of([&] { fs::softmax(a.x.view(), a.out.out(), a.axes, options); }) ==
        "InvalidArgument: where has no data");
  options = {};
  options.temperatures = a.temperature.view();
  options.temperatures->data = nullptr;
  CHECK(error_of([&] { fs::softmax(a.x.view(), a.out.out(), a.axes, options); }) ==
        "InvalidArgument: temperature has no data");
}

TEST_CASE("arguments: overlapping memory") {
  const std::string fine;
  const std::string refused =
      "InvalidArgument: out overlaps x without being the same view in memory";
  CHECK(overlapping(0, fs::DType::f32) == fine);
  CHECK(overlapping(0, fs::DType::f32, fs::Op::logsumexp) == refused);
  CHECK(overlapping(0, fs::DType::i32) == refused);
  CHECK(overlapping(4, fs::DType::f32) == refused);
  CHECK(overlapping(20, fs::DType::f32) == refused);
  CHECK(overlapping(24, fs::DType::f32) == fine);

  refuses("InvalidArgument", "elements of out share memory (a broadcast or overlapping view)",
          [](Arguments& a) { a.out.strides[0] = 0; });
  refuses("InvalidArgument", "elements of out share memory (a broadcast or overlapping view)",
          [](Arguments& a) { a.out.strides = {8, 4}; });

  Arguments a;
  const std::array axes = {1};
  const auto run = [&](const fs::Options& options) {
    return error_of([&] { fs::softmax(a.x.view(), a.out.out(), axes, options); });
  };
  fs::Options options;
  const Shape where_strides = {3, 1};
  options.where =
      fs::ConstView{a.out.bytes.data() + 18, fs::DType::boolean, a.x.shape, where_strides};
  CHECK(run(options) == "InvalidArgument: out overlaps where in memory");
  options = {};
  const Array one = dense(fs::DType::f64, {1, 1}, encode(fs::DType::f64, std::array{1.0}));
  std::copy(one.bytes.begin(), one.bytes.end(), a.out.bytes.begin() + 16);
  options.temperatures =
      fs::ConstView{a.out.bytes.data() + 16, fs::DType::f64, one.shape, one.strides};
  CHECK(run(options) == "InvalidArgument: out overlaps temperature in memory");
}

TEST_CASE("arguments: spans") {
  std::vector<float> x = {1.0f, 2.0f, 3.0f, 4.0f};
  std::vector<float> y(3);
  CHECK(error_of([&] { fs::softmax(std::span<const float>(x), y); }) ==
        "InvalidArgument: out has shape (3,) for x of shape (4,)");
  const std::span<float> all(x);
  CHECK_THROWS_AS(fs::log_softmax(std::span<const float>(all.first(3)), all.last(3)),
                  fs::InvalidArgument);
  CHECK(x[3] == 4.0f);
  fs::softmax(std::span<const float>(all), all);
  CHECK(x[3] == doctest::Approx(0.643914));
  CHECK(fs::logsumexp(std::span<const double>()) == -kInfinity);
  CHECK(fs::logsumexp(std::span<const float>()) == -static_cast<float>(kInfinity));
  fs::softmax(std::span<const double>(), std::span<double>());
}
