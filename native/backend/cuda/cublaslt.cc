#include "native/backend/cuda/cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "native/core/error.h"

namespace rl {

namespace {

// Enumerators and struct layouts in use are the same in these majors.
constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
constexpr const char* kFolders[] = {"/usr/local/cuda/lib64/", "/usr/local/cuda/targets/x86_64-linux/lib/"};

std::vector<std::string> candidates() {
  if (const char* named = std::getenv("RL3DEDIT_CUBLASLT"); named != nullptr && *named != '\0') return {named};
  std::vector<std::string> all(std::begin(kNames), std::end(kNames));
  std::vector<std::string> folders(std::begin(kFolders), std::end(kFolders));
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* root = std::getenv(variable); root != nullptr &&
        *root != '\0') folders.push_back(str(root, "/lib64/"));
  for (const std::string& folder : folders)
    for (const char* name : kNames) all.push_back(folder + name);
  return all;
}

CublasLt open() {
  std::string tried;
  void* library = nullptr;
  CublasLt lt{};
  for (const std::string& path : candidates()) {
    library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) {
      lt.path = path;
      break;
    }
    const char* why = ::dlerror();
    tried += str("\n  ", why != nullptr ? why : path.c_str());
  }
  RL_CHECK(library != nullptr, code::kEnvironment,
           "matrix products on CUDA need cuBLASLt 12 or 13, which could not be opened:", tried,
           "\nInstall it with the CUDA toolkit (apt: libcublas-13-0, or libcublas-12-x), or `pip install nvidia-cublas` "
           "and name the file in RL3DEDIT_CUBLASLT=/path/to/libcublasLt.so.13");
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    RL_CHECK(function != nullptr, code::kEnvironment, lt.path, " has no ", name, ": cuBLASLt 12 or 13 is needed");
  };
  load(lt.create, "cublasLtCreate");
  load(lt.destroy, "cublasLtDestroy");
  load(lt.matmul, "cublasLtMatmul");
  load(lt.desc_create, "cublasLtMatmulDescCreate");
  load(lt.desc_destroy, "cublasLtMatmulDescDestroy");
  load(lt.desc_set, "cublasLtMatmulDescSetAttribute");
  load(lt.layout_create, "cublasLtMatrixLayoutCreate");
  load(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
  load(lt.layout_set, "cublasLtMatrixLayoutSetAttribute");
  load(lt.preference_create, "cublasLtMatmulPreferenceCreate");
  load(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  load(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  load(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  load(lt.version, "cublasLtGetVersion");
  return lt;
}

const char* name_of(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_INITIALIZED: return "not initialised";
    case CUBLAS_STATUS_ALLOC_FAILED: return "allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE: return "invalid value";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "not available on this GPU";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "execution failed";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "internal error";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "not supported";
    default: return "failed";
  }
}

}  // namespace

const CublasLt& cublaslt() {
  static const CublasLt lt = open();  // a failed attempt is repeated by the next call
  return lt;
}

void check_cublas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? code::kOutOfMemory : code::kDevice,
              str("cuBLASLt: ", what, ": ", name_of(status), " (status ", static_cast<int>(status), ")"));
}

}  // namespace rl
