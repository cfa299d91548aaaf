#include "native/backend/cpu/cpu_device.h"
#include "native/backend/null/null_device.h"
#include "native/core/error.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/cuda_device.h"
#endif

namespace rl {

std::shared_ptr<Device> make_device(const std::string& spec) {
  if (spec == "cpu") return std::make_shared<CpuDevice>();
  if (spec == "null") return std::make_shared<NullDevice>();
  if (spec == "cuda" || spec.rfind("cuda:", 0) == 0) {
#if RL_WITH_CUDA
    int index = 0;
    if (spec.size() > 5) {
      char* end = nullptr;
      const long parsed = std::strtol(spec.c_str() + 5, &end, 10);
      RL_CHECK(*end == '\0' && parsed >= 0 && parsed < 1024, code::kConfig, "device '", spec, "': expected cuda or cuda:N");
      index = static_cast<int>(parsed);
    }
    return make_cuda_device(index);
#else
    throw Error(code::kEnvironment,
                "device 'cuda' needs the CUDA build of the add-on; build it with `npm run build:cuda` or use --device cpu");
#endif
  }
  throw Error(code::kConfig, str("unknown device '", spec, "', expected cpu, cuda, cuda:N or null"));
}

}  // namespace rl
