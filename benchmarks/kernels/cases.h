// What benchmark_kernels measures: one case per kernel and shape.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::benchmarks {

/// What a case is, in integers by name: what a peer needs to do the same.
using Shape = std::vector<std::pair<std::string, int64_t>>;

/// Memory and work of one case; gone with it.
struct Work {
  std::function<void(cuda::Stream&)> run;
  /// Brings what run() changes to where it was; may be empty.
  std::function<void(cuda::Stream&)> reset;
  struct Result {
    const void* data;
    size_t bytes;
    DType type;
  };
  /// What run() writes, for comparing runs.
  std::vector<Result> results;
  std::vector<std::shared_ptr<cuda::Buffer>> buffers;
};

/// Makes the memory of a case. Values are pseudo-random: a device may be faster on zeros.
class Maker {
 public:
  explicit Maker(cuda::Stream& stream);

  Work work;

  void* empty(int64_t count, DType type);
  /// About normal with standard deviation 1, repeating after 2¹⁸ numbers.
  void* random(int64_t count, DType type);
  void* zeros(int64_t count, DType type);
  /// Uniform in [0, limit).
  int32_t* integers(int64_t count, int64_t limit);
  template <class T>
  T* upload(const std::vector<T>& values) {
    void* const data = allocate(values.size() * sizeof(T));
    stream_.copy(data, values.data(), values.size() * sizeof(T));
    stream_.synchronize();
    return static_cast<T*>(data);
  }
  /// Like random(), into memory that is there.
  void randomize(cuda::Stream& stream, void* data, int64_t count, DType type) const;
  void result(const void* data, int64_t count, DType type);

 private:
  void* allocate(size_t bytes);

  cuda::Stream& stream_;
  std::shared_ptr<cuda::Buffer> f32_, bf16_;  ///< the numbers that repeat
};

struct Case {
  std::string kernel;
  Shape shape;
  double flops = 0.0;   ///< of the mathematics, by the conventions of benchmarks/README.md
  double bytes = 0.0;   ///< every input read once, every result written once
  bool matrix = false;  ///< bound by matrix units rather than by memory
  std::function<void(Maker&)> make;
};

/// Every case, for a device; `tiny`: the same ones with shapes that the emulator runs in a moment.
std::vector<Case> all_cases(bool tiny);

void add_attention_cases(bool tiny, std::vector<Case>& cases);
void add_product_cases(bool tiny, std::vector<Case>& cases);
void add_row_cases(bool tiny, std::vector<Case>& cases);        ///< norms, activations, positions
void add_objective_cases(bool tiny, std::vector<Case>& cases);  ///< pictures, comparisons of features
void add_parameter_cases(bool tiny, std::vector<Case>& cases);  ///< embedding, cross-entropy, optimizer, copies

}  // namespace tsugi::benchmarks
