{
  # The portable CPU build (node-gyp), into build/. The CUDA build is CMakeLists.txt; both read native/sources.gypi.
  "includes": ["native/sources.gypi"],
  "targets": [
    {
      "target_name": "rl3dedit",
      "sources": ["<@(core_files)", "<@(op_files)", "<@(binding_files)"],
      "include_dirs": [".", "<!@(node -p \"require('node-addon-api').include\")"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except_all"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS",
        "RL_WITH_CUDA=0"
      ],
      "cflags!": ["-O2", "-g"],
      "cflags_cc!": ["-std=gnu++17", "-fno-rtti"],
      "cflags_cc": ["-std=c++20", "-O3", "-g1", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas"],
      "libraries": ["-lpthread"]
    }
  ]
}
