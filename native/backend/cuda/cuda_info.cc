#include "native/backend/cuda/cuda_info.h"

#include <cuda_runtime.h>

#include <cstdio>
#include <sstream>

#include "native/core/error.h"

namespace rl {

namespace {

// CMake's names, with the usual "-real" left out.
std::string built_for() {
  std::istringstream names(RL_CUDA_ARCHITECTURES);
  std::string name, all;
  while (names >> name) {
    if (name.size() > 5 && name.compare(name.size() - 5, 5, "-real") == 0) name.resize(name.size() - 5);
    all += (all.empty() ? "" : " ") + name;
  }
  return all;
}

std::string version(int number) { return str(number / 1000, ".", number % 1000 / 10); }

std::string reason(cudaError_t status, const CudaInfo& info) {
  const std::string what = str(cudaGetErrorString(status), " (CUDA error ", static_cast<int>(status), ")");
  if (info.driver.empty())
    return str("no NVIDIA driver is loaded: ", what, "; this binary needs a driver for CUDA ", info.runtime,
               " or newer");
  if (status == cudaErrorInsufficientDriver)
    return str("the NVIDIA driver supports CUDA ", info.driver, ", this binary needs ", info.runtime, ": ", what,
               "; update the driver");
  if (status == cudaErrorNoDevice)
    return str("the driver sees no GPU: ", what, "; check nvidia-smi and CUDA_VISIBLE_DEVICES");
  return what;
}

CudaInfo probe() {
  CudaInfo info;
  info.architectures = built_for();
  int number = 0;
  if (cudaRuntimeGetVersion(&number) == cudaSuccess) info.runtime = version(number);
  if (cudaDriverGetVersion(&number) == cudaSuccess && number > 0) info.driver = version(number);
  const cudaError_t status = cudaGetDeviceCount(&info.device_count);
  if (status != cudaSuccess) {
    info.device_count = 0;
    info.unavailable = reason(status, info);
  } else if (info.device_count == 0) {
    info.unavailable = reason(cudaErrorNoDevice, info);
  }
  for (int i = 0; i < info.device_count; ++i) {
    cudaDeviceProp properties;
    const cudaError_t got = cudaGetDeviceProperties(&properties, i);
    if (got != cudaSuccess) {
      info.devices.push_back(str("cuda:", i, ": ", cudaGetErrorString(got)));
      if (i == 0) info.unavailable = reason(got, info);
      continue;
    }
    char gib[32];
    std::snprintf(gib, sizeof gib, "%.1f GiB", static_cast<double>(properties.totalGlobalMem) / 0x1p30);
    info.devices.push_back(str(properties.name, ", sm_", properties.major, properties.minor, ", ", gib));
    if (i == 0 && !runs_on(info.architectures, properties.major, properties.minor))
      info.unavailable = str("this binary has no code for ", properties.name, " (sm_", properties.major,
                             properties.minor,
                             "), it was built for ", info.architectures,
                             "; build with RL3DEDIT_CUDA_ARCHITECTURES=native npm run build:cuda");
  }
  (void)cudaGetLastError();  // what failed here is reported above and must not turn up at the next launch
  return info;
}

}  // namespace

bool runs_on(const std::string& architectures, int major, int minor) {
  std::istringstream names(architectures);
  std::string name;
  while (names >> name) {
    const int number = std::atoi(name.c_str());
    const int its_major = number / 10, its_minor = number % 10;
    const bool has_ptx = name.find("-virtual") != std::string::npos;
    const bool exact = name.find('a') != std::string::npos && name.find('a') == name.find_first_not_of("0123456789");
    if (exact ? its_major == major && its_minor == minor
              : (its_major == major && its_minor <= minor) || (has_ptx && its_major <= major))
      return true;
  }
  return false;
}

const CudaInfo& cuda_info() {
  static const CudaInfo info = probe();
  return info;
}

}  // namespace rl
