// Attention of a single query: a product of matrices would pack keys that are read only once.
#include <cmath>

#include "ops/attention/attention_forward.h"
#include "ops/base/vector_math.h"

namespace tsugi::cpu {
namespace {

float largest_of(const float* values, int64_t count) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i)
    largest = values[i] > largest ? values[i] : largest;  // std::max: ten times slower
  return largest;
}

/// values = exp(values - largest); returns their sum. `count` is a multiple of kLanes.
float exponentiate(float* values, int64_t count, float largest) {
  float sum = 0.0f;
  count &= -kLanes;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    values[i] = fast_exp(values[i] - largest);
    sum += values[i];
  }
  return sum;
}

struct SingleLayout : ScratchLayout {
  explicit SingleLayout(const AttentionShape& shape) {
    const int64_t keys = std::min(shape.key_tokens, kDecodeChunk);
    q = add(shape.head_dim);
    scores = add(padded(keys));
    sums = add(shape.head_dim);
    factors = add(keys);
  }
  int64_t q, scores, sums, factors;
};

/// What one chunk of keys makes of a query: values weighted by exp(score - largest), and the sum of these weights.
struct ChunkSums {
  float largest = -std::numeric_limits<float>::infinity();
  float total = 0.0f;
};

constexpr int kKeysAtOnce = 4;

constexpr int64_t kRowsAhead = 16;

/// A head's rows are short and far apart: the hardware does not see what comes next.
template <class T>
void prefetch_rows(const T* rows, int64_t stride, int64_t count, int64_t width) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t d = 0; d < width; d += kLine) __builtin_prefetch(rows + row * stride + d);
  }
}

/// scores[c] = q · key c of kCount, `stride` apart.
template <int kCount, class T>
void score_keys(const float* q, const T* keys, int64_t stride, int64_t width, float* scores) {
  Lanes sums[kCount] = {};
  int64_t d = 0;
  for (; d + kLanes <= width; d += kLanes) {
    Lanes query;
    tsugi::load(q + d, query);
    for (int c = 0; c < kCount; ++c) {
      Lanes key;
      tsugi::load(keys + c * stride + d, key);
      sums[c] += query * key;
    }
  }
  for (int c = 0; c < kCount; ++c) {
    scores[c] = sum_of(sums[c]);
    for (int64_t rest = d; rest < width; ++rest) scores[c] += q[rest] * static_cast<float>(keys[c * stride + rest]);
  }
}

template <class T>
ChunkSums forward_chunk(const Forward& f, const SingleLayout& layout, int64_t b, int64_t h, Range keys, float* scratch,
                        float* sums) {
  const int64_t count = keys.size();
  const int64_t width = f.shape.head_dim;
  const int64_t kv_head = h / f.shape.group();
  float* const q = scratch + layout.q;
  float* const scores = scratch + layout.scores;

  const T* const query = head_pointer<const T>(f.q, b, h, 0);
  for (int64_t d = 0; d < width; ++d) q[d] = static_cast<float>(query[d]) * f.shape.scale;
  const T* const key = head_pointer<const T>(f.k, b, kv_head, keys.begin);
  const int64_t stride = f.k.token_stride;
  int64_t j = 0;
  for (; j + kKeysAtOnce <= count; j += kKeysAtOnce) {
    prefetch_rows(key + (j + kRowsAhead) * stride, stride, std::min<int64_t>(count - j - kRowsAhead, kKeysAtOnce),
                  width);
    score_keys<kKeysAtOnce>(q, key + j * stride, stride, width, scores + j);
  }
  for (; j < count; ++j) score_keys<1>(q, key + j * stride, stride, width, scores + j);
  if (f.shape.relative_bias.defined()) add_floats(bias_of(f.shape, h, 0, keys.begin), count, scores);
  std::fill(scores + count, scores + padded(count), -std::numeric_limits<float>::infinity());
  ChunkSums result;
  result.largest = largest_of(scores, padded(count));
  result.total = exponentiate(scores, padded(count), result.largest);
  if (f.dropout.active()) drop(f, b, f.element_of(h, 0) + keys.begin, scores, count, scratch + layout.factors);

  std::fill(sums, sums + width, 0.0f);
  for (j = 0; j + kKeysAtOnce <= count; j += kKeysAtOnce) {
    const T* const v0 = head_pointer<const T>(f.v, b, kv_head, keys.begin + j);
    prefetch_rows(v0 + kRowsAhead * f.v.token_stride, f.v.token_stride,
                  std::min<int64_t>(count - j - kRowsAhead, kKeysAtOnce), width);
    const T* const v1 = v0 + f.v.token_stride;
    const T* const v2 = v1 + f.v.token_stride;
    const T* const v3 = v2 + f.v.token_stride;
    const float p0 = scores[j], p1 = scores[j + 1], p2 = scores[j + 2], p3 = scores[j + 3];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
      sums[d] += p0 * static_cast<float>(v0[d]) + p1 * static_cast<float>(v1[d]) +
                 (p2 * static_cast<float>(v2[d]) + p3 * static_cast<float>(v3[d]));
    }
  }
  for (; j < count; ++j) {
    const T* const value = head_pointer<const T>(f.v, b, kv_head, keys.begin + j);
    const float probability = scores[j];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) sums[d] += probability * static_cast<float>(value[d]);
  }
  return result;
}

template <class T>
void write_single(const Forward& f, int64_t b, int64_t h, const ChunkSums& all, const float* sums) {
  write_row<T>(f, b, h, 0, sums, 1.0f / all.total);
  if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, 0)] = all.largest + std::log(all.total);
}

}  // namespace

template <class T>
void run_single(const Forward& f, ThreadPool& pool) {
  const AttentionShape& shape = f.shape;
  const SingleLayout layout(shape);
  const int64_t heads = shape.batch * shape.heads;
  const int64_t chunks = tiles_of(shape.key_tokens, kDecodeChunk);
  const int64_t width = shape.head_dim;
  if (chunks == 1) {
    pool.for_each(heads, [&](int64_t head, int worker) {
      const int64_t b = head / shape.heads;
      const int64_t h = head % shape.heads;
      const Range visible = visible_keys(shape, b, Range{0, 1});
      if (visible.size() == 0) return write_nothing<T>(f, b, h, 0);
      float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
      float* const sums = scratch + layout.sums;
      const ChunkSums all = forward_chunk<T>(f, layout, b, h, visible, scratch, sums);
      write_single<T>(f, b, h, all, sums);
    });
    return;
  }
  // A row of the workspace: largest, total, then the sums.
  const auto row_of = [&](int64_t head, int64_t chunk) { return f.workspace + (head * chunks + chunk) * (width + 2); };
  // Heads side by side over the same keys: their pages and, in a group, their cache lines are the same.
  pool.for_each(heads * chunks, [&](int64_t index, int worker) {
    const int64_t b = index / (shape.heads * chunks);
    const int64_t chunk = index / shape.heads % chunks;
    const int64_t head = b * shape.heads + index % shape.heads;
    const Range visible = visible_keys(shape, b, Range{0, 1});
    const Range keys{std::max(visible.begin, chunk * kDecodeChunk), std::min(visible.end, (chunk + 1) * kDecodeChunk)};
    float* const row = row_of(head, chunk);
    row[1] = 0.0f;
    if (keys.size() <= 0) return;
    float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes()));
    const ChunkSums part = forward_chunk<T>(f, layout, b, head % shape.heads, keys, scratch, row + 2);
    row[0] = part.largest;
    row[1] = part.total;
  });
  pool.for_each(heads, [&](int64_t head, int worker) {
    float* const sums = static_cast<float*>(pool.scratch(worker, layout.bytes())) + layout.sums;
    ChunkSums all;
    std::fill_n(sums, width, 0.0f);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      if (row_of(head, chunk)[1] != 0.0f) all.largest = std::max(all.largest, row_of(head, chunk)[0]);
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const float* const row = row_of(head, chunk);
      if (row[1] == 0.0f) continue;
      const float weight = fast_exp(row[0] - all.largest);
      all.total += weight * row[1];
#pragma omp simd
      for (int64_t d = 0; d < width; ++d) sums[d] += weight * row[2 + d];
    }
    const int64_t b = head / shape.heads;
    if (all.total == 0.0f) return write_nothing<T>(f, b, head % shape.heads, 0);
    write_single<T>(f, b, head % shape.heads, all, sums);
  });
}

template void run_single<float>(const Forward&, ThreadPool&);
template void run_single<bf16>(const Forward&, ThreadPool&);

}  // namespace tsugi::cpu
