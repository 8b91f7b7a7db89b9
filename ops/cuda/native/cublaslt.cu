#include <dlfcn.h>

#include <string>

#include "ops/base/error.h"
#include "ops/cuda/native/cublaslt.h"

namespace tsugi::cuda {
namespace {

constexpr const char* kHint =
    "install the cuBLAS of the CUDA toolkit and name its folder in LD_LIBRARY_PATH, or set compute.device: CPU";

template <class F>
void load(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) throw Error(ExitCode::kUsage, std::string("CUDA: libcublasLt has no ") + name, kHint);
}

CublasLt load_all() {
  const std::string file = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  const std::string why = library == nullptr ? dlerror() : "";
  if (library == nullptr) library = dlopen(("/usr/local/cuda/lib64/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Error(ExitCode::kUsage, "CUDA: cuBLASLt could not be loaded: " + why, kHint);
  CublasLt table;
  load(library, "cublasLtCreate", table.create);
  load(library, "cublasLtGetVersion", table.version);
  load(library, "cublasLtGetStatusString", table.status_string);
  load(library, "cublasLtMatmulDescCreate", table.desc_create);
  load(library, "cublasLtMatmulDescSetAttribute", table.desc_set);
  load(library, "cublasLtMatrixLayoutCreate", table.layout_create);
  load(library, "cublasLtMatmulPreferenceCreate", table.preference_create);
  load(library, "cublasLtMatmulPreferenceSetAttribute", table.preference_set);
  load(library, "cublasLtMatmulPreferenceDestroy", table.preference_destroy);
  load(library, "cublasLtMatmulAlgoGetHeuristic", table.heuristic);
  load(library, "cublasLtMatmulAlgoCheck", table.check);
  load(library, "cublasLtMatmul", table.matmul);
  return table;
}

}  // namespace

const CublasLt& cublaslt() {
  static const CublasLt table = load_all();
  return table;
}

}  // namespace tsugi::cuda
