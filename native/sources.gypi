{
  "variables": {
    "core_files": [
      "core/arena.cc",
      "core/device.cc",
      "core/json_reader.cc",
      "core/queue.cc",
      "core/safetensors.cc",
      "core/tensor.cc",
      "core/thread_pool.cc",
      "backend/convert.cc",
      "backend/make_device.cc",
      "backend/cpu/cpu_device.cc",
      "backend/cpu/cpu_features.cc"
    ],
    "op_files": [
      "ops/elem/binary.cc",
      "ops/elem/fill.cc",
      "ops/nn/rmsnorm.cc",
      "ops/registry.cc"
    ],
    "cuda_files": [],
    "binding_files": [
      "binding/build_info.cc",
      "binding/devices.cc",
      "binding/files.cc",
      "binding/module.cc",
      "binding/ops.cc",
      "binding/tensors.cc"
    ]
  }
}
