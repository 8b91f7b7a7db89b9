#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "ops/attention/attention.h"

namespace tsugi::reference {
namespace {

/// Offset of the vector of one query and head in a contiguous [batch, query_tokens, heads, head_dim] array.
size_t query_at(const AttentionShape& shape, int64_t batch, int64_t token, int64_t head) {
  return static_cast<size_t>(((batch * shape.query_tokens + token) * shape.heads + head) * shape.head_dim);
}

/// Offset of the key vector that a query head reads, in [batch, key_tokens, key heads, head_dim].
size_t key_at(const AttentionShape& shape, int64_t batch, int64_t token, int64_t head) {
  const int64_t key_heads = shape.key_heads == 0 ? shape.heads : shape.key_heads;
  const int64_t key_head = head / (shape.heads / key_heads);
  return static_cast<size_t>(((batch * shape.key_tokens + token) * key_heads + key_head) * shape.head_dim);
}

/// Where the bias of a query and a key stands.
size_t bias_at(const AttentionShape& shape, int64_t head, int64_t query, int64_t key) {
  return static_cast<size_t>(head * (shape.key_tokens + shape.query_tokens - 1) + key - query + shape.query_tokens - 1);
}

bool sees(const AttentionShape& shape, int64_t batch, int64_t query, int64_t key) {
  const int64_t distance = query + shape.key_tokens - shape.query_tokens - key;
  if (shape.causal && distance < 0) return false;
  if (shape.window > 0 && std::abs(distance) >= shape.window) return false;
  const int64_t row = batch * shape.query_tokens + query;
  if (shape.first_key.defined() && key < shape.first_key.data<int32_t>()[row]) return false;
  if (shape.end_key.defined() && key >= shape.end_key.data<int32_t>()[row]) return false;
  return true;
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// The keys that a query sees, their probabilities and the factors that dropout multiplies them with.
struct Row {
  std::vector<int64_t> keys;
  std::vector<double> probability;
  std::vector<double> factor;
};

Row probabilities(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                  const Dropout& dropout, int64_t batch, int64_t head, int64_t query) {
  Row row;
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t key = 0; key < shape.key_tokens; ++key) {
    if (!sees(shape, batch, query, key)) continue;
    double score = static_cast<double>(shape.scale) *
                   dot(&q[query_at(shape, batch, query, head)], &k[key_at(shape, batch, key, head)], shape.head_dim);
    if (shape.relative_bias.defined()) {
      score += static_cast<double>(shape.relative_bias.data<float>()[bias_at(shape, head, query, key)]);
    }
    largest = std::max(largest, score);
    row.keys.push_back(key);
    row.probability.push_back(score);
  }
  double sum = 0.0;
  for (double& p : row.probability) sum += p = std::exp(p - largest);
  for (double& p : row.probability) p /= sum;
  for (const int64_t key : row.keys) {
    const int64_t element = (head * shape.query_tokens + query) * shape.key_tokens + key;
    const bool dropped = dropout.active() && dropout.stream(batch).word(element) < dropout.threshold();
    row.factor.push_back(dropped ? 0.0 : 1.0 / (1.0 - static_cast<double>(dropout.p)));
  }
  return row;
}

}  // namespace

void attention_forward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                       std::span<const double> v, const Dropout& dropout, std::span<double> out) {
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t i = 0; i < shape.query_tokens; ++i) {
        const Row row = probabilities(shape, q, k, dropout, b, h, i);
        double* result = &out[query_at(shape, b, i, h)];
        for (int64_t d = 0; d < shape.head_dim; ++d) result[d] = 0.0;
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const double* value = &v[key_at(shape, b, row.keys[j], h)];
          for (int64_t d = 0; d < shape.head_dim; ++d) result[d] += row.probability[j] * row.factor[j] * value[d];
        }
      }
    }
  }
}

void attention_backward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                        std::span<const double> v, const Dropout& dropout, std::span<const double> d_out,
                        std::span<double> dq, std::span<double> dk, std::span<double> dv,
                        std::span<double> d_relative_bias) {
  for (const std::span<double> gradient : {dq, dk, dv, d_relative_bias}) {
    for (double& value : gradient) value = 0.0;
  }
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t i = 0; i < shape.query_tokens; ++i) {
        const Row row = probabilities(shape, q, k, dropout, b, h, i);
        const size_t query = query_at(shape, b, i, h);
        std::vector<double> d_probability;
        double mean = 0.0;  // of d_probability under the softmax
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const size_t key = key_at(shape, b, row.keys[j], h);
          d_probability.push_back(row.factor[j] * dot(&d_out[query], &v[key], shape.head_dim));
          mean += row.probability[j] * d_probability[j];
        }
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const size_t key = key_at(shape, b, row.keys[j], h);
          const double d_biased = row.probability[j] * (d_probability[j] - mean);
          if (!d_relative_bias.empty()) d_relative_bias[bias_at(shape, h, i, row.keys[j])] += d_biased;
          const double d_score = static_cast<double>(shape.scale) * d_biased;
          for (size_t d = 0; d < static_cast<size_t>(shape.head_dim); ++d) {
            dq[query + d] += d_score * k[key + d];
            dk[key + d] += d_score * q[query + d];
            dv[key + d] += row.probability[j] * row.factor[j] * d_out[query + d];
          }
        }
      }
    }
  }
}

}  // namespace tsugi::reference
