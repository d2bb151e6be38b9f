// Devices that plans are made for.
#pragma once

#include "cuda/plan.h"
#include "elements.h"

namespace tests {

using fs::cuda::Device;

inline constexpr Device kH200{132, 227 * 1024, std::int64_t{50} << 20, 90};
inline constexpr Device kT4{40, 64 * 1024, std::int64_t{4} << 20, 75};
inline constexpr Device kA100{108, 163 * 1024, std::int64_t{40} << 20, 80};
inline constexpr Device kB200{148, 227 * 1024, std::int64_t{126} << 20, 100};
inline constexpr Device kRtx5090{170, 99 * 1024, std::int64_t{96} << 20, 120};

// An H200 of which clusters that large can be resident.
constexpr Device h200_with_clusters_of(int largest) {
  Device device = kH200;
  device.largest_cluster = largest;
  return device;
}
inline constexpr Device kDevices[] = {kH200,
                                      kT4,
                                      kA100,
                                      kB200,
                                      kRtx5090,
                                      h200_with_clusters_of(1),
                                      h200_with_clusters_of(2),
                                      h200_with_clusters_of(4)};

}  // namespace tests
