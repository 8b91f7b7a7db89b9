// The device layer on the emulator; device.cuh says what there is.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "ops/cuda/emulated/global_memory.h"
#include "ops/cuda/emulated/machine.h"
#include "ops/cuda/launch_size.h"
#include "ops/cuda/vector.h"
#include "ops/tensor/dtype.h"

#define TSUGI_KERNEL(threads, blocks) void
#define TSUGI_DEVICE inline
#define TSUGI_UNROLL

namespace tsugi::dev {

using emulated::Where;

inline int thread_index() { return emulated::current_lane->thread; }
inline int lane_index() { return emulated::current_lane->lane(); }
inline int warp_index() { return emulated::current_lane->warp->index; }
inline int block_threads() { return emulated::current_lane->warp->block->warp_count * emulated::kWarpLanes; }
inline Index3 block_index() { return emulated::current_lane->warp->block->index; }
inline Index3 grid_size() { return emulated::current_grid_size(); }

// fp32. The hardware's approximations (ex2, lg2, rsqrt) are within 2 ulp of these.
inline float bits_to_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t float_to_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline bf16 to_bf16(float x) { return bf16(x); }
inline float exp2(float x) { return std::exp2(x); }
inline float log2(float x) { return std::log2(x); }
inline float erfc(float x) { return std::erfc(x); }
inline float tanh(float x) { return std::tanh(x); }
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float sqrt(float x) { return std::sqrt(x); }
inline double sqrt(double x) { return std::sqrt(x); }
inline double exp(double x) { return std::exp(x); }
inline double log(double x) { return std::log(x); }
inline double log1p(double x) { return std::log1p(x); }
inline float divide(float a, float b) { return a / b; }
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float maximum(float a, float b) { return std::fmax(a, b); }
inline float minimum(float a, float b) { return std::fmin(a, b); }
inline int lowest_bit(uint32_t x) { return std::countr_zero(x); }

// Global memory.
template <class T>
T load(const T* address, Where where = Where::current()) {
  emulated::check_global(address, sizeof(T), alignof(T), where);
  return *address;
}
template <class T>
void store(T* address, std::type_identity_t<T> value, Where where = Where::current()) {
  emulated::check_global(address, sizeof(T), alignof(T), where);
  *address = value;
}
template <int N, class T>
Vector<T, N> load_vector(const T* address, Where where = Where::current()) {
  emulated::check_global(address, sizeof(T) * N, sizeof(T) * N, where);
  Vector<T, N> value;
  std::memcpy(static_cast<void*>(&value), address, sizeof(value));
  return value;
}
template <class T>
Words load_words(const T* address, Where where = Where::current()) {
  emulated::check_global(address, sizeof(Words), sizeof(Words), where);
  Words words;
  std::memcpy(&words, address, sizeof(words));
  return words;
}
template <class T, int N>
void store_vector(T* address, const Vector<T, N>& value, Where where = Where::current()) {
  emulated::check_global(address, sizeof(T) * N, sizeof(T) * N, where);
  std::memcpy(static_cast<void*>(address), &value, sizeof(value));
}

// Shared memory. Elements are proxies, so that every access is checked.
inline emulated::SharedMemory& shared_memory() { return emulated::current_lane->warp->block->shared; }

template <class T>
class SharedElement {
 public:
  explicit SharedElement(T* address) : address_(address) {}
  SharedElement(const SharedElement&) = delete;
  operator T() const {
    shared_memory().read(address_, sizeof(T), emulated::current_accessor());
    return *address_;
  }
  void operator=(T value) {
    shared_memory().write(address_, sizeof(T), emulated::current_accessor());
    *address_ = value;
  }
  void operator+=(T value) { *this = static_cast<T>(static_cast<T>(*this) + value); }

 private:
  T* address_;
};

/// Elements whose number the launch says.
template <class T>
class SharedSpan {
 public:
  SharedSpan(T* data, int count) : data_(data), count_(count) {}
  T* at(int i) const {
    if (i < 0 || i >= count_) {
      throw emulated::Fault("shared memory: element " + std::to_string(i) + " of " + std::to_string(count_));
    }
    return data_ + i;
  }
  template <int M>
  Vector<T, M> load(int i) const {
    const T* address = aligned(i, M);
    shared_memory().read(address, sizeof(T) * M, emulated::current_accessor());
    Vector<T, M> value;
    std::memcpy(static_cast<void*>(&value), address, sizeof(value));
    return value;
  }
  template <int M>
  void store(int i, const Vector<T, M>& value) const {
    T* address = aligned(i, M);
    shared_memory().write(address, sizeof(T) * M, emulated::current_accessor());
    std::memcpy(static_cast<void*>(address), &value, sizeof(value));
  }

 private:
  T* aligned(int i, int elements) const {
    at(i + elements - 1);
    T* address = at(i);
    if (reinterpret_cast<uintptr_t>(address) % (sizeof(T) * static_cast<size_t>(elements)) != 0) {
      throw emulated::Fault("shared memory: a misaligned vector at element " + std::to_string(i));
    }
    return address;
  }
  T* data_;
  int count_;
};

template <class T, int N>
class SharedArray {
 public:
  SharedElement<T> operator[](int i) { return SharedElement<T>(at(i)); }
  /// The address of an element, for the functions that take one.
  T* at(int i) { return span().at(i); }
  template <int M>
  Vector<T, M> load(int i) {
    return span().template load<M>(i);
  }
  template <int M>
  void store(int i, const Vector<T, M>& value) {
    span().template store<M>(i, value);
  }

 private:
  SharedSpan<T> span() { return {data_, N}; }
  T data_[N];
};

/// The shared memory of the block as a T, an aggregate of SharedArrays. The launch says sizeof(T) bytes.
template <class T>
T& shared(Where where = Where::current()) {
  if (shared_memory().bytes() < sizeof(T)) {
    emulated::fault("the kernel uses " + std::to_string(sizeof(T)) + " bytes of shared memory, the launch gave " +
                        std::to_string(shared_memory().bytes()),
                    where);
  }
  return *reinterpret_cast<T*>(shared_memory().data());
}

/// `count` elements of T behind the block's S. The launch says sizeof(S) + count · sizeof(T) bytes.
template <class S, class T>
SharedSpan<T> shared_behind(int count, Where where = Where::current()) {
  static_assert(sizeof(S) % 16 == 0);
  const size_t bytes = sizeof(S) + static_cast<size_t>(count) * sizeof(T);
  if (shared_memory().bytes() < bytes) {
    emulated::fault("the kernel uses " + std::to_string(bytes) + " bytes of shared memory, the launch gave " +
                        std::to_string(shared_memory().bytes()),
                    where);
  }
  return SharedSpan<T>(reinterpret_cast<T*>(reinterpret_cast<std::byte*>(shared_memory().data()) + sizeof(S)), count);
}

// Barriers.
inline void barrier_sync(int id, int threads, Where where = Where::current()) {
  emulated::barrier_arrive(id, threads, true, where);
}
inline void barrier_arrive(int id, int threads, Where where = Where::current()) {
  emulated::barrier_arrive(id, threads, false, where);
}
inline void sync_threads(Where where = Where::current()) { emulated::barrier_arrive(0, block_threads(), true, where); }
inline void sync_warp(Where where = Where::current()) {
  int nothing = 0;
  emulated::collective("sync_warp", where, nothing, [](const auto&) { emulated::current_lane->warp->tick(); });
}

// Between the lanes of a warp. No order of memory comes with them.
template <class T>
T shuffle(T value, int from_lane, Where where = Where::current()) {
  struct Call {
    T value, result;
    int from;
  } call{value, value, from_lane};
  emulated::collective("shuffle", where, call, [](const auto& all) {
    for (Call* c : all) c->result = all[static_cast<size_t>(c->from & 31)]->value;
  });
  return call.result;
}
template <class T>
T shuffle_xor(T value, int mask, Where where = Where::current()) {
  return dev::shuffle(value, lane_index() ^ mask, where);  // not std::shuffle, which a source_location would find
}
inline uint32_t ballot(bool predicate, Where where = Where::current()) {
  struct Call {
    bool predicate;
    uint32_t result;
  } call{predicate, 0};
  emulated::collective("ballot", where, call, [](const auto& all) {
    uint32_t bits = 0;
    for (size_t i = 0; i < all.size(); ++i) bits |= static_cast<uint32_t>(all[i]->predicate) << i;
    for (Call* c : all) c->result = bits;
  });
  return call.result;
}

inline uint32_t match_any(uint32_t value, Where where = Where::current()) {
  struct Call {
    uint32_t value, result;
  } call{value, 0};
  emulated::collective("match_any", where, call, [](const auto& all) {
    for (Call* c : all) {
      for (size_t i = 0; i < all.size(); ++i) c->result |= static_cast<uint32_t>(all[i]->value == c->value) << i;
    }
  });
  return call.result;
}
inline int popcount(uint32_t x) { return std::popcount(x); }

// Tensor cores (tensor_core.cpp).
void ldmatrix_x4(uint32_t (&registers)[4], const bf16* row, Where where = Where::current());
void ldmatrix_x4_transposed(uint32_t (&registers)[4], const bf16* row, Where where = Where::current());
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where = Where::current());

// cp.async (async_copy.cpp).
void copy_async_16(void* to_shared, const void* from_global, bool valid, Where where = Where::current());
void copy_async_commit();
void copy_async_wait_at_most(int groups);
template <int Groups>
void copy_async_wait() {
  copy_async_wait_at_most(Groups);
}

// Between blocks.
inline uint32_t load_acquire(const uint32_t* address, Where where = Where::current()) { return load(address, where); }
inline void store_release(uint32_t* address, uint32_t value, Where where = Where::current()) {
  store(address, value, where);
  emulated::yield();  // others may see it before this thread goes on
}
inline uint32_t atomic_add(uint32_t* address, uint32_t value, Where where = Where::current()) {
  const uint32_t old = load(address, where);
  *address = old + value;
  return old;
}
template <class F>
void spin_until(F&& done, Where where = Where::current()) {
  emulated::poll("spin_until", where, done);
}

}  // namespace tsugi::dev
