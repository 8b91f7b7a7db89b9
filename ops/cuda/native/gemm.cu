// Matrix products by cuBLASLt. It thinks in columns: a row-major [m, n] is its column-major [n, m], so that out = a·b
// is asked for as outᵀ = bᵀ·aᵀ, and a bias along n is its bias along rows.
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "ops/base/error.h"
#include "ops/cuda/device_error.h"
#include "ops/cuda/gemm_library.h"
#include "ops/cuda/native/cublaslt.h"

namespace tsugi::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  // What the device or an earlier kernel did comes to light in the library, too.
  const cudaError_t last = cudaPeekAtLastError();
  if (is_failure_of_device(last)) check(last, what);
  throw Error(ExitCode::kInternal, std::string("CUDA: ") + what + ": " + cublaslt().status_string(status));
}

cudaDataType_t type_of(DType type) { return type == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

constexpr uint32_t kAlignment = 16;  // of all addresses: an algorithm must not assume more

struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, out = nullptr;
  std::optional<ProductAlgorithm> first;  ///< the library's suggestion, once it was asked
};

static_assert(sizeof(ProductAlgorithm) == sizeof(cublasLtMatmulAlgo_t));

cublasLtMatmulAlgo_t native_algorithm(const ProductAlgorithm& algorithm) {
  cublasLtMatmulAlgo_t result;
  std::memcpy(&result, algorithm.data(), sizeof(result));
  return result;
}

template <class T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check_blas(cublaslt().desc_set(product, attribute, &value, sizeof(value)), "a product's attribute");
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  check_blas(cublaslt().preference_set(preference, attribute, &value, sizeof(value)), "a preference");
}

cublasLtMatrixLayout_t layout(DType type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t result = nullptr;
  check_blas(cublaslt().layout_create(&result, type_of(type), static_cast<uint64_t>(rows),
                                      static_cast<uint64_t>(columns), rows),
             "a matrix");
  return result;
}

cublasLtEpilogue_t epilogue_of(const ProductShape& s) {
  if (s.gelu_backward) return CUBLASLT_EPILOGUE_DGELU;
  if (s.gelu) return s.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return s.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/// One per process: a rank has one device.
class Library {
 public:
  Library() : workspace_(kWorkspaceBytes) { check_blas(cublaslt().create(&handle_), "cuBLASLt"); }

  void run(Stream& stream, const Gemm& p, const ProductAlgorithm* chosen) {
    const ProductShape shape = shape_of(p);
    Plan& plan = plan_of(shape);
    if (chosen == nullptr && !plan.first) {
      const std::vector<ProductAlgorithm> first = suggestions(shape, 1);
      if (first.empty()) refuse_product(shape);
      plan.first = first.front();
    }
    const cublasLtMatmulAlgo_t algorithm = native_algorithm(chosen != nullptr ? *chosen : *plan.first);
    if (p.bias != nullptr) set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    if (p.pre_activation != nullptr) {
      set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre_activation);
    }
    if (p.gelu_backward != nullptr) set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.gelu_backward);
    const float one = 1.0f;
    const float beta = p.accumulate ? 1.0f : 0.0f;
    check_blas(cublaslt().matmul(handle_, plan.product, &one, p.b, plan.left, p.a, plan.right, &beta, p.out, plan.out,
                                 p.out, plan.out, &algorithm, workspace_.data(), workspace_.bytes(), native(stream)),
               "a matrix product");
  }

  /// Empty: there is none.
  std::vector<ProductAlgorithm> suggestions(const ProductShape& s, int most) {
    const Plan& plan = plan_of(s);
    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublaslt().preference_create(&preference), "a preference");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    // A K that is cut is summed in the workspace in order, or not at all: the same bits in every run.
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kAlignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kAlignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, kAlignment);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, kAlignment);
    // No vector: nvcc 13.0 fails on vectors of the library's nameless structs.
    const auto results = std::make_unique<cublasLtMatmulHeuristicResult_t[]>(static_cast<size_t>(most));
    int found = 0;
    const cublasStatus_t status = cublaslt().heuristic(handle_, plan.product, plan.left, plan.right, plan.out, plan.out,
                                                       preference, most, results.get(), &found);
    cublaslt().preference_destroy(preference);
    std::vector<ProductAlgorithm> algorithms;
    for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < found; ++i) {
      const cublasLtMatmulHeuristicResult_t& result = results[static_cast<size_t>(i)];
      if (result.state != CUBLAS_STATUS_SUCCESS) continue;
      ProductAlgorithm written;
      std::memcpy(written.data(), &result.algo, sizeof(written));
      algorithms.push_back(written);
    }
    return algorithms;
  }

  bool takes(const ProductShape& shape, const ProductAlgorithm& chosen) {
    const Plan& plan = plan_of(shape);
    const cublasLtMatmulAlgo_t algorithm = native_algorithm(chosen);
    cublasLtMatmulHeuristicResult_t result{};
    return cublaslt().check(handle_, plan.product, plan.left, plan.right, plan.out, plan.out, &algorithm, &result) ==
               CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kWorkspaceBytes;
  }

 private:
  Plan& plan_of(const ProductShape& s) {
    const auto found = plans_.find(s);
    if (found != plans_.end()) return found->second;
    Plan plan;
    check_blas(cublaslt().desc_create(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    const cublasOperation_t left = s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, left);
    set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, right);
    set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(s));
    // What is asked for depends on the addresses, too: these say no more than what all of them are.
    const auto* const somewhere = reinterpret_cast<const void*>(uintptr_t{kAlignment});
    if (s.bias) {
      set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(s.out_type));
      set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, somewhere);
    }
    if (s.gelu || s.gelu_backward) {
      set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, s.n);
      set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, somewhere);
    }
    plan.left = s.transpose_b ? layout(s.type, s.k, s.n) : layout(s.type, s.n, s.k);
    plan.right = s.transpose_a ? layout(s.type, s.m, s.k) : layout(s.type, s.k, s.m);
    plan.out = layout(s.out_type, s.n, s.m);
    return plans_.emplace(s, plan).first->second;
  }

  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<ProductShape, Plan> plans_;
};

/// Lives as long as the process: at its end the driver may be gone already.
Library& library() {
  static auto* const instance = new Library;
  return *instance;
}

}  // namespace

std::vector<ProductAlgorithm> library_algorithms(const ProductShape& shape, int most) {
  return library().suggestions(shape, most);
}

bool library_takes(const ProductShape& shape, const ProductAlgorithm& algorithm) {
  return library().takes(shape, algorithm);
}

void library_gemm(Stream& stream, const Gemm& product, const ProductAlgorithm* algorithm) {
  library().run(stream, product, algorithm);
}

int64_t gemm_library_version() { return static_cast<int64_t>(cublaslt().version()); }

}  // namespace tsugi::cuda
