// openSafetensors, safetensorsEntries, loadTensor: weights go from the mapped file to the device without passing through
// JavaScript.
#include <cstring>

#include "native/backend/convert.h"
#include "native/binding/state.h"

namespace rl::binding {

namespace {

State& state_of(const Napi::CallbackInfo& info) { return *static_cast<State*>(info.Data()); }

Napi::Value open_safetensors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), state_of(info).files.add(SafetensorsFile::open(string_arg(info, 0))));
  });
}

// safetensorsEntries(file) -> {entries: {name: [dtype, ...shape]}, metadata: {key: text}}
Napi::Value safetensors_entries(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto& file = *state_of(info).files.get(number_arg(info, 0));
    auto entries = Napi::Object::New(info.Env());
    for (const auto& [name, entry] : file.entries()) {
      auto item = Napi::Array::New(info.Env(), entry.shape.rank() + 1);
      item.Set(0u, name_of(entry.dtype));
      for (int i = 0; i < entry.shape.rank(); ++i) item.Set(static_cast<uint32_t>(i + 1), static_cast<double>(entry.shape[i]));
      entries.Set(name, item);
    }
    auto metadata = Napi::Object::New(info.Env());
    for (const auto& [key, text] : file.metadata()) metadata.Set(key, text);
    auto result = Napi::Object::New(info.Env());
    result.Set("entries", entries);
    result.Set("metadata", metadata);
    return result;
  });
}

// loadTensor(device, file, name, dtype) -> handle. On the CPU a tensor that needs no conversion stays in the mapped file.
Napi::Value load_tensor(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    State& state = state_of(info);
    Device& device = *state.devices.get(number_arg(info, 0));
    auto file = state.files.get(number_arg(info, 1));
    const SafetensorsEntry& entry = file->entry(string_arg(info, 2));
    const DType dtype = dtype_from_name(string_arg(info, 3));
    const unsigned char* source = file->data() + entry.offset;
    const bool aligned = reinterpret_cast<uintptr_t>(source) % size_of(entry.dtype) == 0;
    Tensor tensor;
    if (device.kind() == DeviceKind::cpu && entry.dtype == dtype && aligned) {
      auto buffer = std::make_shared<Buffer>();
      buffer->device = device.shared_from_this();
      buffer->data = const_cast<unsigned char*>(source);
      buffer->bytes = entry.bytes;
      buffer->owner = file;
      tensor = Tensor::wrap(std::move(buffer), 0, entry.shape, dtype);
    } else {
      tensor = Tensor::empty(device, entry.shape, dtype);
      upload_converted(device, tensor.data(), dtype, source, entry.dtype, entry.shape.numel(), file);
    }
    return Napi::Number::New(info.Env(), state.tensors.add(std::move(tensor)));
  });
}

Napi::Value close_safetensors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    state_of(info).files.remove(number_arg(info, 0));
    return info.Env().Undefined();
  });
}

}  // namespace

void export_files(Napi::Env env, Napi::Object exports, State* state) {
  exports.Set("openSafetensors", Napi::Function::New(env, open_safetensors, "openSafetensors", state));
  exports.Set("safetensorsEntries", Napi::Function::New(env, safetensors_entries, "safetensorsEntries", state));
  exports.Set("loadTensor", Napi::Function::New(env, load_tensor, "loadTensor", state));
  exports.Set("closeSafetensors", Napi::Function::New(env, close_safetensors, "closeSafetensors", state));
}

}  // namespace rl::binding
