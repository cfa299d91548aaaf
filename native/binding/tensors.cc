// empty, upload, read, tensorInfo, reshape, narrowRows, alias, disposeTensor.
#include <cstring>

#include "native/binding/state.h"

namespace rl::binding {

namespace {

State& state_of(const Napi::CallbackInfo& info) { return *static_cast<State*>(info.Data()); }
Tensor& tensor_arg(const Napi::CallbackInfo& info, size_t i) { return state_of(info).tensors.get(number_arg(info, i)); }

Napi::Value add(const Napi::CallbackInfo& info, Tensor tensor) {
  return Napi::Number::New(info.Env(), state_of(info).tensors.add(std::move(tensor)));
}

// empty(device, shape, dtype) -> handle
Napi::Value empty(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Device& device = *state_of(info).devices.get(number_arg(info, 0));
    return add(info, Tensor::empty(device, shape_arg(info[1]), dtype_from_name(string_arg(info, 2))));
  });
}

// upload(tensor, typedArray): the bytes are copied before the call returns.
Napi::Value upload(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor& tensor = tensor_arg(info, 0);
    RL_CHECK(info[1].IsTypedArray(), code::kShape, "upload: expected a typed array");
    const auto array = info[1].As<Napi::TypedArray>();
    RL_CHECK(array.ByteLength() == tensor.bytes(), code::kShape, "upload: tensor ", tensor.shape(), " ", name_of(tensor.dtype()),
             " has ", tensor.bytes(), " bytes, the array has ", array.ByteLength());
    const char* host = static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
    tensor.device().upload(tensor.data(), host, tensor.bytes());
    return info.Env().Undefined();
  });
}

// read(tensor) -> Promise<ArrayBuffer>
Napi::Value read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Tensor& tensor = tensor_arg(info, 0);
    Device& device = tensor.device();
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    auto host = std::make_shared<std::vector<char>>(tensor.bytes());
    device.download(host->data(), tensor.data(), host->size());
    auto complete = state_of(info).completions.begin();
    device.enqueue_wait([deferred, complete, host](std::exception_ptr error) mutable {
      complete([deferred, error, host](Napi::Env env) {
        if (error) {
          deferred.Reject(to_js(env, error).Value());
          return;
        }
        auto buffer = Napi::ArrayBuffer::New(env, host->size());
        if (!host->empty()) std::memcpy(buffer.Data(), host->data(), host->size());
        deferred.Resolve(buffer);
      });
    });
    return deferred.Promise();
  });
}

// tensorInfo(tensor) -> [dtype, ...shape]
Napi::Value tensor_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Tensor& tensor = tensor_arg(info, 0);
    auto result = Napi::Array::New(info.Env(), tensor.rank() + 1);
    result.Set(0u, name_of(tensor.dtype()));
    for (int i = 0; i < tensor.rank(); ++i) result.Set(static_cast<uint32_t>(i + 1), static_cast<double>(tensor.size(i)));
    return result;
  });
}

Napi::Value reshape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return add(info, tensor_arg(info, 0).reshape(shape_arg(info[1]))); });
}

Napi::Value narrow_rows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return add(info, tensor_arg(info, 0).narrow_rows(static_cast<int64_t>(number_arg(info, 1)), static_cast<int64_t>(number_arg(info, 2))));
  });
}

Napi::Value dispose_tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    state_of(info).tensors.remove(number_arg(info, 0));
    return info.Env().Undefined();
  });
}

}  // namespace

void export_tensors(Napi::Env env, Napi::Object exports, State* state) {
  exports.Set("empty", Napi::Function::New(env, empty, "empty", state));
  exports.Set("upload", Napi::Function::New(env, upload, "upload", state));
  exports.Set("read", Napi::Function::New(env, read, "read", state));
  exports.Set("tensorInfo", Napi::Function::New(env, tensor_info, "tensorInfo", state));
  exports.Set("reshape", Napi::Function::New(env, reshape, "reshape", state));
  exports.Set("narrowRows", Napi::Function::New(env, narrow_rows, "narrowRows", state));
  exports.Set("disposeTensor", Napi::Function::New(env, dispose_tensor, "disposeTensor", state));
}

}  // namespace rl::binding
