#include <cmath>
#include <limits>
#include <vector>

#include "ops/attention/attention.h"

namespace tsugi::reference {
namespace {

/// Offset of the vector of one token and head in a contiguous [batch, tokens, heads, head_dim] array.
size_t at(const AttentionShape& shape, int64_t tokens, int64_t batch, int64_t token, int64_t head) {
  return static_cast<size_t>(((batch * tokens + token) * shape.heads + head) * shape.head_dim);
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// One query's probabilities and the factors that dropout multiplies them with, for the keys that it sees.
struct Row {
  std::vector<double> probability;
  std::vector<double> factor;
};

Row probabilities(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                  const Dropout& dropout, int64_t batch, int64_t head, int64_t query) {
  const int64_t visible = query + shape.key_tokens - shape.query_tokens + 1;
  Row row;
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t key = 0; key < visible; ++key) {
    const double score =
        static_cast<double>(shape.scale) * dot(&q[at(shape, shape.query_tokens, batch, query, head)],
                                               &k[at(shape, shape.key_tokens, batch, key, head)], shape.head_dim);
    largest = std::max(largest, score);
    row.probability.push_back(score);
  }
  double sum = 0.0;
  for (double& p : row.probability) sum += p = std::exp(p - largest);
  for (double& p : row.probability) p /= sum;
  for (int64_t key = 0; key < visible; ++key) {
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
        double* result = &out[at(shape, shape.query_tokens, b, i, h)];
        for (int64_t d = 0; d < shape.head_dim; ++d) result[d] = 0.0;
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const double* value = &v[at(shape, shape.key_tokens, b, static_cast<int64_t>(j), h)];
          for (int64_t d = 0; d < shape.head_dim; ++d) result[d] += row.probability[j] * row.factor[j] * value[d];
        }
      }
    }
  }
}

void attention_backward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                        std::span<const double> v, const Dropout& dropout, std::span<const double> d_out,
                        std::span<double> dq, std::span<double> dk, std::span<double> dv) {
  for (const std::span<double> gradient : {dq, dk, dv}) {
    for (double& value : gradient) value = 0.0;
  }
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t i = 0; i < shape.query_tokens; ++i) {
        const Row row = probabilities(shape, q, k, dropout, b, h, i);
        const size_t query = at(shape, shape.query_tokens, b, i, h);
        std::vector<double> d_probability;
        double mean = 0.0;  // of d_probability under the softmax
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const size_t key = at(shape, shape.key_tokens, b, static_cast<int64_t>(j), h);
          d_probability.push_back(row.factor[j] * dot(&d_out[query], &v[key], shape.head_dim));
          mean += row.probability[j] * d_probability[j];
        }
        for (size_t j = 0; j < row.probability.size(); ++j) {
          const size_t key = at(shape, shape.key_tokens, b, static_cast<int64_t>(j), h);
          const double d_score = static_cast<double>(shape.scale) * row.probability[j] * (d_probability[j] - mean);
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
