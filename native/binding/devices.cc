// createDevice, sync, abort, memory, trim, setMatmulPrecision.
#include "native/binding/state.h"

namespace rl::binding {

namespace {

State& state_of(const Napi::CallbackInfo& info) { return *static_cast<State*>(info.Data()); }
Device& device_arg(const Napi::CallbackInfo& info) { return *state_of(info).devices.get(number_arg(info, 0)); }

Napi::Value create_device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto device = make_device(string_arg(info, 0));
    auto result = Napi::Object::New(info.Env());
    result.Set("name", device->name());
    result.Set("kind", device->kind() == DeviceKind::cuda ? "cuda" : device->kind() == DeviceKind::null ? "null" : "cpu");
    result.Set("handle", state_of(info).devices.add(std::move(device)));
    return result;
  });
}

Napi::Value dispose_device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    state_of(info).devices.remove(number_arg(info, 0));
    return info.Env().Undefined();
  });
}

// Resolves when everything enqueued so far has run; rejects with the first failure.
Napi::Value sync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Device& device = device_arg(info);
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    auto complete = state_of(info).completions.begin();
    device.enqueue_wait([deferred, complete](std::exception_ptr error) mutable {
      complete([deferred, error](Napi::Env env) {
        if (error) {
          deferred.Reject(to_js(env, error).Value());
        } else {
          deferred.Resolve(env.Undefined());
        }
      });
    });
    return deferred.Promise();
  });
}

Napi::Value abort_device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    device_arg(info).abort();
    return info.Env().Undefined();
  });
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Device& device = device_arg(info);
    const ArenaStats stats = device.memory();
    auto result = Napi::Object::New(info.Env());
    result.Set("usedBytes", static_cast<double>(stats.used));
    result.Set("cachedBytes", static_cast<double>(stats.cached));
    result.Set("peakBytes", static_cast<double>(stats.peak));
    result.Set("blocks", static_cast<double>(stats.blocks));
    const auto here = [&](const Tensor& tensor) { return &tensor.device() == &device; };
    result.Set("liveTensors", static_cast<double>(state_of(info).tensors.count_if(here)));
    return result;
  });
}

Napi::Value trim(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    device_arg(info).trim();
    return info.Env().Undefined();
  });
}

Napi::Value set_matmul_precision(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = string_arg(info, 1);
    RL_CHECK(name == "f32" || name == "bf16", code::kConfig, "matmul precision '", name, "': expected f32 or bf16");
    device_arg(info).matmul_precision = name == "bf16" ? MatmulPrecision::bf16 : MatmulPrecision::f32;
    return info.Env().Undefined();
  });
}

// opTimes(device) -> {op: [calls, seconds]} since the last call
Napi::Value op_times(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto result = Napi::Object::New(info.Env());
    for (const OpTime& time : device_arg(info).take_times()) {
      auto entry = Napi::Array::New(info.Env(), 2);
      entry.Set(0u, static_cast<double>(time.calls));
      entry.Set(1u, time.seconds);
      result.Set(time.op, entry);
    }
    return result;
  });
}

}  // namespace

void export_devices(Napi::Env env, Napi::Object exports, State* state) {
  exports.Set("createDevice", Napi::Function::New(env, create_device, "createDevice", state));
  exports.Set("disposeDevice", Napi::Function::New(env, dispose_device, "disposeDevice", state));
  exports.Set("sync", Napi::Function::New(env, sync, "sync", state));
  exports.Set("abort", Napi::Function::New(env, abort_device, "abort", state));
  exports.Set("memory", Napi::Function::New(env, memory, "memory", state));
  exports.Set("opTimes", Napi::Function::New(env, op_times, "opTimes", state));
  exports.Set("trim", Napi::Function::New(env, trim, "trim", state));
  exports.Set("setMatmulPrecision", Napi::Function::New(env, set_matmul_precision, "setMatmulPrecision", state));
}

}  // namespace rl::binding
