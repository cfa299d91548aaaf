// buildInfo(): what this binary was built with and what this machine offers; never throws, never touches a GPU unless
// the binary has CUDA code.
#include "native/backend/cpu/cpu_features.h"
#include "native/binding/state.h"
#include "native/core/thread_pool.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/cuda_info.h"
#endif

namespace rl::binding {

namespace {

Napi::Value build_info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  result.Set("compiler", __VERSION__);
  result.Set("napiVersion", NAPI_VERSION);
  result.Set("cpuFeatures", cpu::describe());
  result.Set("threads", ThreadPool::instance().size());
#if RL_WITH_CUDA
  result.Set("cuda", true);
  const CudaInfo cuda = cuda_info();
  result.Set("cudaRuntime", cuda.runtime);
  result.Set("cudaArchitectures", cuda.architectures);
  result.Set("cudaDeviceCount", cuda.device_count);
  result.Set("cudaUnavailable", cuda.unavailable);
  auto names = Napi::Array::New(env);
  for (uint32_t i = 0; i < cuda.devices.size(); ++i) names.Set(i, cuda.devices[i]);
  result.Set("cudaDevices", names);
#else
  result.Set("cuda", false);
#endif
  return result;
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const double threads = number_arg(info, 0);
    RL_CHECK(threads >= 1 && threads <= 1024, code::kConfig, "threads must be in 1..1024, got ", threads);
    ThreadPool::instance().set_size(static_cast<int>(threads));
    return info.Env().Undefined();
  });
}

}  // namespace

void export_build_info(Napi::Env env, Napi::Object exports) {
  exports.Set("buildInfo", Napi::Function::New(env, build_info, "buildInfo"));
  exports.Set("setThreads", Napi::Function::New(env, set_threads, "setThreads"));
}

}  // namespace rl::binding
