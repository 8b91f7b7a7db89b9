#include <algorithm>
#include <cmath>

#include "ops/base/vector_math.h"
#include "ops/cross_entropy/cross_entropy_internal.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kLanes = 16;
// Exponentials of one block are summed in f32 while they are in the first-level cache, the blocks' sums in f64.
constexpr int64_t kBlock = 1024;
// A piece covers about this many logits, so that small vocabularies do not spend their time on taking pieces.
constexpr int64_t kLogitsPerPiece = 1 << 15;

float largest(const float* x, int64_t count) {
  float result = x[0];
#pragma omp simd reduction(max : result)
  for (int64_t i = 0; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

/// x[i] = exp(x[i] - shift); returns the sum. The lanes are spelled out: their order must not be the compiler's choice.
double exponentials(float* x, int64_t count, float shift) {
  double sum = 0.0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    float* block = x + begin;
    const int64_t length = std::min(kBlock, count - begin);
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) block[i] = fast_exp(block[i] - shift);
    float lanes[kLanes] = {};
    const int64_t whole = length / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
#pragma omp simd
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] += block[i + l];
    }
    for (int64_t i = whole; i < length; ++i) lanes[i - whole] += block[i];
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

/// gradient = exponential / sum - onehot(target), 0 in [vocabulary, columns).
template <class T>
void write_gradient(const float* exponential, double sum, int64_t target, int64_t vocabulary, int64_t columns,
                    T* gradient) {
  const float scale = static_cast<float>(1.0 / sum);
  const float at_target = exponential[target] * scale - 1.0f;
#pragma omp simd
  for (int64_t v = 0; v < vocabulary; ++v) store(gradient[v], exponential[v] * scale);
  gradient[target] = T(at_target);
  std::fill(gradient + vocabulary, gradient + columns, T(0.0f));
}

/// The loss of one row; `gradient` may be null, or x itself.
template <class T>
double row_cross_entropy(float* x, int32_t target, int64_t vocabulary, int64_t columns, T* gradient) {
  if (target == kIgnoreIndex) {
    if (gradient != nullptr) std::fill(gradient, gradient + columns, T(0.0f));
    return 0.0;
  }
  CHECK(target >= 0 && target < vocabulary) << "target " << target << " of a vocabulary of " << vocabulary;
  const float maximum = largest(x, vocabulary);
  const double distance = static_cast<double>(maximum) - static_cast<double>(x[target]);
  const double sum = exponentials(x, vocabulary, maximum);
  if (gradient != nullptr) write_gradient(x, sum, target, vocabulary, columns, gradient);
  return std::log(sum) + distance;
}

}  // namespace

void softmax_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocabulary,
                           const Tensor& losses, const Tensor& d_logits) {
  const int64_t rows = logits.shape()[0];
  const int64_t columns = logits.shape()[1];
  const int64_t rows_per_piece = std::max(int64_t{1}, kLogitsPerPiece / columns);
  dispatch_compute_type(d_logits.dtype(), [&]<class T>(T) {
    T* const gradient = d_logits.defined() ? d_logits.data<T>() : nullptr;
    context.pool().for_each((rows + rows_per_piece - 1) / rows_per_piece, [&](int64_t piece, int) {
      const int64_t end = std::min((piece + 1) * rows_per_piece, rows);
      for (int64_t r = piece * rows_per_piece; r < end; ++r) {
        losses.data<double>()[r] =
            row_cross_entropy(logits.data<float>() + r * columns, targets.data<int32_t>()[r], vocabulary, columns,
                              gradient == nullptr ? nullptr : gradient + r * columns);
      }
    });
  });
}

}  // namespace tsugi::cpu
