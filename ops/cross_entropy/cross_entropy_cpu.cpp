#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cross_entropy/cross_entropy_cpu.cpp"
#include <hwy/foreach_target.h>  // this file, for every kind of vectors
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/base/ordered_sum.h"
#include "ops/base/vector_math.h"
#include "ops/cross_entropy/cross_entropy_internal.h"

HWY_BEFORE_NAMESPACE();
namespace tsugi::cpu {
namespace HWY_NAMESPACE {

// A piece covers about this many logits, so that small vocabularies do not spend their time on taking pieces.
constexpr int64_t kLogitsPerPiece = 1 << 15;

float largest(const float* x, int64_t count) {
  float result = x[0];
#pragma omp simd reduction(max : result)
  for (int64_t i = 0; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

/// to[i] = exp(x[i] - shift), block by block: `to` is x itself, or a block that is overwritten. Returns the sum.
double exponentials(const float* x, int64_t count, float shift, float* to, bool in_place) {
  double sum = 0.0;
  for (int64_t begin = 0; begin < count; begin += kSumBlock) {
    const float* from = x + begin;
    float* block = in_place ? to + begin : to;
    const int64_t length = std::min(kSumBlock, count - begin);
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) block[i] = fast_exp(from[i] - shift);
    sum += block_sum(block, length);
  }
  return sum;
}

/// The gradient of a logit is exponential·scale - everywhere, and less at_target at the target.
struct Gradient {
  float scale = 0.0f;
  float everywhere = 0.0f;
  float at_target = 1.0f;
};

/// `exponential` are those of the row; `gradient` is 0 in [vocabulary, columns).
template <class T>
void write_gradient(const float* exponential, const Gradient& g, int64_t target, int64_t vocabulary, int64_t columns,
                    T* gradient) {
  const float value_at_target = exponential[target] * g.scale - (g.everywhere + g.at_target);
#pragma omp simd
  for (int64_t v = 0; v < vocabulary; ++v) store(gradient[v], exponential[v] * g.scale - g.everywhere);
  gradient[target] = T(value_at_target);
  std::fill(gradient + vocabulary, gradient + columns, T(0.0f));
}

/// The same through the soft cap: `capped` are the logits cap·tanh(x / cap), whose derivative is 1 - (capped / cap)².
template <class T>
void write_capped_gradient(const float* capped, float maximum, float cap, const Gradient& g, int64_t target,
                           int64_t vocabulary, int64_t columns, T* gradient) {
  const float inverse = 1.0f / cap;
  const auto at = [=](float logit, float shift) {
    const float ratio = logit * inverse;
    return (fast_exp(logit - maximum) * g.scale - shift) * (1.0f - ratio * ratio);
  };
  const float value_at_target = at(capped[target], g.everywhere + g.at_target);
#pragma omp simd
  for (int64_t v = 0; v < vocabulary; ++v) store(gradient[v], at(capped[v], g.everywhere));
  gradient[target] = T(value_at_target);
  std::fill(gradient + vocabulary, gradient + columns, T(0.0f));
}

struct RowLoss {
  double nll = 0.0;
  double z_loss = 0.0;
  double smoothing = 0.0;
};

/// The losses of one row; `gradient` may be null, or x itself.
template <class T>
RowLoss row_cross_entropy(float* x, int32_t target, int64_t vocabulary, int64_t columns,
                          const CrossEntropyOptions& options, T* gradient) {
  if (target == kIgnoreIndex) {
    if (gradient != nullptr) std::fill(gradient, gradient + columns, T(0.0f));
    return {};
  }
  CHECK(target >= 0 && target < vocabulary) << "target " << target << " of a vocabulary of " << vocabulary;
  const float cap = options.soft_cap;
  if (cap > 0.0f) {
    const float inverse = 1.0f / cap;
#pragma omp simd
    for (int64_t v = 0; v < vocabulary; ++v) x[v] = cap * fast_tanh(x[v] * inverse);
  }
  const float maximum = largest(x, vocabulary);
  const auto top = static_cast<double>(maximum);
  const double distance = top - static_cast<double>(x[target]);
  RowLoss loss;
  const auto epsilon = static_cast<double>(options.label_smoothing);
  const double mean = epsilon > 0.0 ? ordered_sum(x, vocabulary) / static_cast<double>(vocabulary) : 0.0;
  float block[kSumBlock];
  const double sum =
      cap > 0.0f ? exponentials(x, vocabulary, maximum, block, false) : exponentials(x, vocabulary, maximum, x, true);
  const double log_sum = std::log(sum);
  loss.nll = log_sum + distance;
  const auto z = static_cast<double>(options.z_loss);
  loss.z_loss = z * (log_sum + top) * (log_sum + top);
  loss.smoothing = epsilon > 0.0 ? epsilon * (log_sum + top - mean - loss.nll) : 0.0;
  if (gradient == nullptr) return loss;
  const Gradient g{static_cast<float>((1.0 + 2.0 * z * (log_sum + top)) / sum),
                   static_cast<float>(epsilon / static_cast<double>(vocabulary)), 1.0f - options.label_smoothing};
  if (cap > 0.0f) {
    write_capped_gradient(x, maximum, cap, g, target, vocabulary, columns, gradient);
  } else {
    write_gradient(x, g, target, vocabulary, columns, gradient);
  }
  return loss;
}

void rows_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocabulary,
                        const CrossEntropyOptions& options, const Tensor& losses, const Tensor& extras,
                        const Tensor& d_logits) {
  const int64_t rows = logits.shape()[0];
  const int64_t columns = logits.shape()[1];
  const int64_t rows_per_piece = std::max(int64_t{1}, kLogitsPerPiece / columns);
  dispatch_compute_type(d_logits.dtype(), [&]<class T>(T) {
    T* const gradient = d_logits.defined() ? d_logits.data<T>() : nullptr;
    context.pool().for_each((rows + rows_per_piece - 1) / rows_per_piece, [&](int64_t piece, int) {
      const int64_t end = std::min((piece + 1) * rows_per_piece, rows);
      for (int64_t r = piece * rows_per_piece; r < end; ++r) {
        const RowLoss loss =
            row_cross_entropy(logits.data<float>() + r * columns, targets.data<int32_t>()[r], vocabulary, columns,
                              options, gradient == nullptr ? nullptr : gradient + r * columns);
        losses.data<double>()[r] = loss.nll;
        if (!extras.defined()) continue;
        extras.data<double>()[2 * r] = loss.z_loss;
        extras.data<double>()[2 * r + 1] = loss.smoothing;
      }
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tsugi::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tsugi::cpu {

HWY_EXPORT(rows_cross_entropy);

void softmax_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocabulary,
                           const CrossEntropyOptions& options, const Tensor& losses, const Tensor& extras,
                           const Tensor& d_logits) {
  HWY_DYNAMIC_DISPATCH(rows_cross_entropy)
  (context, logits, targets, vocabulary, options, losses, extras, d_logits);
}

}  // namespace tsugi::cpu
#endif
