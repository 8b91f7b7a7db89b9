#include "ops/matmul/onednn_gemm.h"

#include <glog/logging.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <array>
#include <cstring>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "ops/base/openmp.h"

namespace tsugi {
namespace {

// oneDNN asks OpenMP for the size of its team. A caller's own OpenMP settings must not change results.
void stay_on_this_thread() {
  if (omp_get_max_threads() != 1) omp_set_num_threads(1);
}

// ONEDNN_MAX_CPU_ISA=AVX2 keeps all operators to AVX2, ours too: runs can be compared with those of an older CPU.
[[maybe_unused]] const bool kOurVectorsAreLimited = [] {
  const bool limited = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx2;
  if (limited) hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
  return limited;
}();

dnnl::engine& engine() {
  static dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

template <class T>
constexpr dnnl::memory::data_type kOneDnnType = dnnl::memory::data_type::f32;
template <>
constexpr dnnl::memory::data_type kOneDnnType<bf16> = dnnl::memory::data_type::bf16;

dnnl::memory::desc matrix(int64_t rows, int64_t columns, int64_t ld, bool transposed, dnnl::memory::data_type type) {
  return {{rows, columns}, type, transposed ? dnnl::memory::dims{1, ld} : dnnl::memory::dims{ld, 1}};
}

template <class T>
dnnl::matmul::primitive_desc describe(const GemmShape& s) {
  const dnnl::matmul::desc operation(matrix(s.m, s.k, s.lda, s.transpose_a, kOneDnnType<T>),
                                     matrix(s.k, s.n, s.ldb, s.transpose_b, kOneDnnType<T>),
                                     matrix(s.m, s.n, s.ldc, false, kOneDnnType<float>));
  dnnl::primitive_attr attributes;
  if (s.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  return {operation, attributes, engine()};
}

/// A primitive and the memory objects that its operands are hung into.
struct Prepared {
  explicit Prepared(const dnnl::matmul::primitive_desc& description)
      : product(description),
        a(description.src_desc(), engine(), DNNL_MEMORY_NONE),
        b(description.weights_desc(), engine(), DNNL_MEMORY_NONE),
        c(description.dst_desc(), engine(), DNNL_MEMORY_NONE) {}

  dnnl::matmul product;
  dnnl::memory a, b, c;
};

struct HashShape {
  size_t operator()(const GemmShape& s) const {
    uint64_t hash = (s.transpose_a ? 1u : 0u) | (s.transpose_b ? 2u : 0u) | (s.accumulate ? 4u : 0u);
    for (const int64_t part : {s.m, s.n, s.k, s.lda, s.ldb, s.ldc}) {
      hash = (hash ^ static_cast<uint64_t>(part)) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

template <class T>
std::unordered_map<GemmShape, Prepared, HashShape>& kept() {
  thread_local std::unordered_map<GemmShape, Prepared, HashShape> primitives;
  return primitives;
}

}  // namespace

void gemm_f32(const GemmShape& s, const float* a, const float* b, float* c) {
  stay_on_this_thread();
  const dnnl_status_t status = dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k, 1.0f, a,
                                          s.lda, b, s.ldb, s.accumulate ? 1.0f : 0.0f, c, s.ldc);
  CHECK_EQ(status, dnnl_success) << s.m << " x " << s.n << " x " << s.k;
}

template <class T>
void gemm_primitive(const GemmShape& shape, const T* a, const T* b, float* c) {
  stay_on_this_thread();
  auto& primitives = kept<T>();
  auto found = primitives.find(shape);
  if (found == primitives.end()) {
    if (primitives.size() >= kMostPrimitives / 2) primitives.clear();
    found = primitives.try_emplace(shape, describe<T>(shape)).first;
  }
  Prepared& prepared = found->second;
  prepared.a.set_data_handle(const_cast<T*>(a));
  prepared.b.set_data_handle(const_cast<T*>(b));
  prepared.c.set_data_handle(c);
  const std::array<dnnl_exec_arg_t, 3> arguments{
      {{DNNL_ARG_SRC, prepared.a.get()}, {DNNL_ARG_WEIGHTS, prepared.b.get()}, {DNNL_ARG_DST, prepared.c.get()}}};
  const dnnl_status_t status = dnnl_primitive_execute(prepared.product.get(), stream().get(),
                                                      static_cast<int>(arguments.size()), arguments.data());
  CHECK_EQ(status, dnnl_success) << shape.m << " x " << shape.n << " x " << shape.k;
}

template void gemm_primitive<float>(const GemmShape&, const float*, const float*, float*);
template void gemm_primitive<bf16>(const GemmShape&, const bf16*, const bf16*, float*);

bool bf16_gemm_is_native() {
  static const bool native = [] {
    try {
      const GemmShape probe{.m = 64, .n = 64, .k = 64, .lda = 64, .ldb = 64, .ldc = 64};
      return std::strstr(describe<bf16>(probe).impl_info_str(), "avx512_core_bf16") != nullptr;
    } catch (const dnnl::error&) {
      return false;  // no implementation for this CPU
    }
  }();
  return native;
}

size_t kept_primitives() { return kept<float>().size() + kept<bf16>().size(); }

}  // namespace tsugi
