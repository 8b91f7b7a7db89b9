// Matrix products by cuBLASLt. It thinks in columns: a row-major [m, n] is its column-major [n, m], so that out = a·b
// is asked for as outᵀ = bᵀ·aᵀ, and a bias along n is its bias along rows.
#include <map>
#include <string>
#include <tuple>

#include "ops/activation/activation_cuda.h"
#include "ops/base/error.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/native/cublaslt.h"

namespace tsugi::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ExitCode::kInternal, std::string("CUDA: ") + what + ": " + cublaslt().status_string(status));
}

cudaDataType_t type_of(DType type) { return type == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

/// The largest power of two, up to 256, that divides an address: the algorithm must not assume more.
uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

/// Everything that the choice of an algorithm depends on.
using Key = std::tuple<int64_t, int64_t, int64_t, int, int, bool, bool, bool, int, uint32_t, uint32_t, uint32_t>;

struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm;
};

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

/// One per process: a rank has one device.
class Library {
 public:
  Library() : workspace_(kWorkspaceBytes) { check_blas(cublaslt().create(&handle_), "cuBLASLt"); }

  void run(Stream& stream, const Gemm& p, cublasLtEpilogue_t epilogue) {
    const Plan& plan = plan_of(p, epilogue);
    if (p.bias != nullptr) set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    if (p.pre_activation != nullptr) {
      set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre_activation);
    }
    const float one = 1.0f;
    const float beta = p.accumulate ? 1.0f : 0.0f;
    check_blas(
        cublaslt().matmul(handle_, plan.product, &one, p.b, plan.left, p.a, plan.right, &beta, p.out, plan.out, p.out,
                          plan.out, &plan.algorithm, workspace_.data(), workspace_.bytes(), native(stream)),
        "a matrix product");
  }

 private:
  const Plan& plan_of(const Gemm& p, cublasLtEpilogue_t epilogue) {
    const Key key{p.m,
                  p.n,
                  p.k,
                  static_cast<int>(p.type),
                  static_cast<int>(p.out_type),
                  p.transpose_a,
                  p.transpose_b,
                  p.accumulate,
                  static_cast<int>(epilogue),
                  alignment_of(p.a),
                  alignment_of(p.b),
                  alignment_of(p.out)};
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    Plan plan;
    check_blas(cublaslt().desc_create(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    const cublasOperation_t left = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, left);
    set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, right);
    set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (p.bias != nullptr) set(plan.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(p.type));
    if (p.pre_activation != nullptr) set(plan.product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.n);
    plan.left = p.transpose_b ? layout(p.type, p.k, p.n) : layout(p.type, p.n, p.k);
    plan.right = p.transpose_a ? layout(p.type, p.m, p.k) : layout(p.type, p.k, p.m);
    plan.out = layout(p.out_type, p.n, p.m);

    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublaslt().preference_create(&preference), "a preference");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    // A K that is cut is summed in the workspace in order, or not at all: the same bits in every run.
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.out));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.out));
    cublasLtMatmulHeuristicResult_t result{};
    int results = 0;
    const cublasStatus_t status = cublaslt().heuristic(handle_, plan.product, plan.left, plan.right, plan.out, plan.out,
                                                       preference, 1, &result, &results);
    cublaslt().preference_destroy(preference);
    if (status != CUBLAS_STATUS_SUCCESS || results == 0) {
      throw Error(ExitCode::kUsage,
                  "CUDA: cuBLASLt has no product of " + std::to_string(p.m) + " x " + std::to_string(p.k) + " and " +
                      std::to_string(p.k) + " x " + std::to_string(p.n) + " in " + name_of(p.type) +
                      " with result in " + name_of(p.out_type),
                  "choose widths that are multiples of 8");
    }
    plan.algorithm = result.algo;
    return plans_.emplace(key, plan).first->second;
  }

  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<Key, Plan> plans_;
};

/// Lives as long as the process: at its end the driver may be gone already.
Library& library() {
  static auto* const instance = new Library;
  return *instance;
}

}  // namespace

void gemm(Stream& stream, const Gemm& p) {
  if (p.pre_activation == nullptr) {
    return library().run(stream, p, p.bias == nullptr ? CUBLASLT_EPILOGUE_DEFAULT : CUBLASLT_EPILOGUE_BIAS);
  }
  // The epilogue stores what came before GELU in rows of 16 bytes.
  if (p.type == DType::kBF16 && p.out_type == DType::kBF16 && p.n % 8 == 0) {
    return library().run(stream, p, p.bias == nullptr ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
  }
  Gemm plain = p;
  plain.out = p.pre_activation;
  plain.pre_activation = nullptr;
  gemm(stream, plain);
  activation_forward(stream, Activation::kGelu, p.out_type, p.pre_activation, p.out, p.m * p.n);
}

int64_t gemm_library_version() { return static_cast<int64_t>(cublaslt().version()); }

}  // namespace tsugi::cuda
