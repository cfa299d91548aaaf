// What CUDA offers on this machine. Needs no driver, creates no context, and asks once per process.
#pragma once

#include <string>
#include <vector>

namespace rl {

struct CudaInfo {
  std::string runtime;         // "13.0", linked statically
  std::string driver;          // newest CUDA the driver supports, "13.0"; empty without a driver
  std::string architectures;   // those this binary was built for: "80 86 89 90a 120 120-virtual"
  int device_count = 0;
  std::vector<std::string> devices;  // "NVIDIA H100 80GB HBM3, sm_90, 79.6 GiB"
  std::string unavailable;     // why cuda:0 cannot be used; empty when it can
};

const CudaInfo& cuda_info();

// Whether code built for `architectures` (CudaInfo's form) runs on compute capability major.minor: the same major and
// no newer minor, exactly the same for "90a", and anything newer for "-virtual" (PTX).
bool runs_on(const std::string& architectures, int major, int minor);

}  // namespace rl
