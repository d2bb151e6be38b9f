// The DLPack interface, versions 0.8 (unversioned) and 1.x: the structures that libraries exchange
// in capsules. Layout and names of the fields follow https://dmlc.github.io/dlpack.
#pragma once

#include <cstdint>

namespace fastsoftmax::python::dlpack {

enum DeviceType : std::int32_t {
  device_cpu = 1,
  device_cuda = 2,
  device_cuda_host = 3,
  device_rocm_host = 11,
  device_cuda_managed = 13
};

struct Device {
  std::int32_t device_type;
  std::int32_t device_id;
};

enum TypeCode : std::uint8_t {
  type_int = 0,
  type_uint = 1,
  type_float = 2,
  type_bfloat = 4,
  type_bool = 6
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means C order
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  static constexpr const char* fresh_name = "dltensor";
  static constexpr const char* used_name = "used_dltensor";

  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

constexpr std::uint64_t flag_read_only = 1;
constexpr std::uint64_t flag_copied = 2;

struct ManagedTensorVersioned {
  static constexpr const char* fresh_name = "dltensor_versioned";
  static constexpr const char* used_name = "used_dltensor_versioned";

  Version version;
  void* manager_context;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

}  // namespace fastsoftmax::python::dlpack
