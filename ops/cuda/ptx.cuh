// The device layer as PTX, for nvcc; device.cuh says what there is.
#pragma once

#include "ops/cuda/launch_size.h"
#include "ops/cuda/vector.h"
#include "ops/tensor/dtype.h"

#define TSUGI_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define TSUGI_DEVICE __device__ __forceinline__
#define TSUGI_UNROLL _Pragma("unroll")

namespace tsugi::dev {

TSUGI_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
TSUGI_DEVICE int lane_index() { return static_cast<int>(threadIdx.x % 32); }
TSUGI_DEVICE int warp_index() { return static_cast<int>(threadIdx.x / 32); }
TSUGI_DEVICE int block_threads() { return static_cast<int>(blockDim.x); }
TSUGI_DEVICE Index3 block_index() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
TSUGI_DEVICE Index3 grid_size() { return {gridDim.x, gridDim.y, gridDim.z}; }

TSUGI_DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
TSUGI_DEVICE uint32_t float_to_bits(float x) { return __float_as_uint(x); }
TSUGI_DEVICE bf16 to_bf16(float x) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}
TSUGI_DEVICE float exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
TSUGI_DEVICE float log2(float x) {
  float result;
  asm("lg2.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
TSUGI_DEVICE float erfc(float x) { return erfcf(x); }
TSUGI_DEVICE float tanh(float x) { return tanhf(x); }
TSUGI_DEVICE float rsqrt(float x) { return rsqrtf(x); }
TSUGI_DEVICE float sqrt(float x) { return sqrtf(x); }
TSUGI_DEVICE double sqrt(double x) { return ::sqrt(x); }
TSUGI_DEVICE double exp(double x) { return ::exp(x); }
TSUGI_DEVICE double log(double x) { return ::log(x); }
TSUGI_DEVICE double log1p(double x) { return ::log1p(x); }
TSUGI_DEVICE float divide(float a, float b) { return __fdividef(a, b); }
TSUGI_DEVICE float fma(float a, float b, float c) { return fmaf(a, b, c); }
TSUGI_DEVICE float maximum(float a, float b) { return fmaxf(a, b); }
TSUGI_DEVICE float minimum(float a, float b) { return fminf(a, b); }
TSUGI_DEVICE int lowest_bit(uint32_t x) { return __ffs(static_cast<int>(x)) - 1; }

template <class T>
TSUGI_DEVICE T load(const T* address) {
  return *address;
}
template <class T>
TSUGI_DEVICE void store(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <int N, class T>
TSUGI_DEVICE Vector<T, N> load_vector(const T* address) {
  return *reinterpret_cast<const Vector<T, N>*>(address);
}
template <class T>
TSUGI_DEVICE Words load_words(const T* address) {
  Words words;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "l"(address)
               : "memory");
  return words;
}
// nvcc may split a plain store of a vector into words, even where it is known to be aligned.
template <class T, int N>
TSUGI_DEVICE void store_vector(T* address, const Vector<T, N>& value) {
  if constexpr (sizeof(value) == sizeof(Words)) {
    Words words;
    __builtin_memcpy(&words, &value, sizeof(words));
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(words[0]), "r"(words[1]), "r"(words[2]),
                 "r"(words[3])
                 : "memory");
  } else {
    *reinterpret_cast<Vector<T, N>*>(address) = value;
  }
}

template <class T>
class SharedSpan {
 public:
  TSUGI_DEVICE explicit SharedSpan(T* data) : data_(data) {}
  template <int M>
  TSUGI_DEVICE Vector<T, M> load(int i) {
    return *reinterpret_cast<const Vector<T, M>*>(data_ + i);
  }
  template <int M>
  TSUGI_DEVICE void store(int i, const Vector<T, M>& value) {
    *reinterpret_cast<Vector<T, M>*>(data_ + i) = value;
  }

 private:
  T* data_;
};

template <class T, int N>
class SharedArray {
 public:
  TSUGI_DEVICE T& operator[](int i) { return data_[i]; }
  TSUGI_DEVICE T* at(int i) { return data_ + i; }
  template <int M>
  TSUGI_DEVICE Vector<T, M> load(int i) {
    return SharedSpan<T>(data_).template load<M>(i);
  }
  template <int M>
  TSUGI_DEVICE void store(int i, const Vector<T, M>& value) {
    SharedSpan<T>(data_).template store<M>(i, value);
  }

 private:
  T data_[N];
};

extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];

template <class T>
TSUGI_DEVICE T& shared() {
  return *reinterpret_cast<T*>(dynamic_shared_memory);
}

template <class S, class T>
TSUGI_DEVICE SharedSpan<T> shared_behind(int) {
  static_assert(sizeof(S) % 16 == 0);
  return SharedSpan<T>(reinterpret_cast<T*>(dynamic_shared_memory + sizeof(S)));
}

TSUGI_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

TSUGI_DEVICE void barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
TSUGI_DEVICE void barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
TSUGI_DEVICE void sync_threads() { __syncthreads(); }
TSUGI_DEVICE void sync_warp() { __syncwarp(); }

template <class T>
TSUGI_DEVICE T shuffle(T value, int from_lane) {
  return __shfl_sync(0xFFFFFFFFu, value, from_lane);
}
template <class T>
TSUGI_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}
TSUGI_DEVICE uint32_t ballot(bool predicate) { return __ballot_sync(0xFFFFFFFFu, predicate); }
TSUGI_DEVICE uint32_t match_any(uint32_t value) { return __match_any_sync(0xFFFFFFFFu, value); }
TSUGI_DEVICE int popcount(uint32_t x) { return __popc(x); }

TSUGI_DEVICE void ldmatrix_x4(uint32_t (&registers)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}
TSUGI_DEVICE void ldmatrix_x4_transposed(uint32_t (&registers)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}
TSUGI_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

TSUGI_DEVICE void copy_async_16(void* to_shared, const void* from_global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
               "r"(valid ? 16 : 0)
               : "memory");
}
TSUGI_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Groups>
TSUGI_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
}

TSUGI_DEVICE uint32_t load_acquire(const uint32_t* address) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}
TSUGI_DEVICE void store_release(uint32_t* address, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
TSUGI_DEVICE uint32_t atomic_add(uint32_t* address, uint32_t value) { return atomicAdd(address, value); }
template <class F>
TSUGI_DEVICE void spin_until(F&& done) {
  while (!done()) __nanosleep(32);
}

}  // namespace tsugi::dev
