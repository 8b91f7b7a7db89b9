// Attentions and what they must give: the double reference, and the bound of the same mathematics done plainly.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "ops/attention/attention.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {

/// One attention and everything that the two passes read and write.
struct Example {
  struct Options {
    const char* name;
    int64_t batch, query_tokens, key_tokens, heads, key_heads, head_dim;
    bool causal = true;
    int64_t window = 0;
    bool documents = false;  ///< first_key and end_key, with some queries that see nothing
    Dropout dropout = {};
    bool bias = false;  ///< relative_bias
    DType type = DType::kBF16;
    int64_t blind_queries = 0;  ///< with documents: queries at the start that see nothing
  };

  explicit Example(const Options& options) : o(options) {
    shape.batch = o.batch;
    shape.query_tokens = o.query_tokens;
    shape.key_tokens = o.key_tokens;
    shape.heads = o.heads;
    shape.key_heads = o.key_heads;
    shape.head_dim = o.head_dim;
    shape.dtype = o.type;
    shape.scale = 1.0f / std::sqrt(static_cast<float>(o.head_dim));
    shape.causal = o.causal;
    shape.window = o.window;
    if (o.documents) {
      for (int64_t row = 0; row < o.batch * o.query_tokens; ++row) {
        const int64_t query = row % o.query_tokens;
        const auto diagonal = static_cast<int32_t>(query + o.key_tokens - o.query_tokens);
        first.push_back(query % 31 == 30 || query < o.blind_queries ? diagonal + 1 : diagonal / 50 * 50);
        end.push_back(static_cast<int32_t>(o.key_tokens - 5));
      }
      shape.first_key = Tensor::view(first.data(), {o.batch, o.query_tokens}, DType::kI32);
      shape.end_key = Tensor::view(end.data(), {o.batch, o.query_tokens}, DType::kI32);
    }
    if (o.bias) {
      const int64_t columns = o.key_tokens + o.query_tokens - 1;
      for (const double value : random_values(o.heads * columns, 5)) bias.push_back(2.0f * static_cast<float>(value));
      shape.relative_bias = Tensor::view(bias.data(), {o.heads, columns}, DType::kF32);
    }
    q = random_values(query_elements(), 1);
    k = random_values(key_elements(), 2);
    v = random_values(key_elements(), 3);
    d_out = random_values(query_elements(), 4);
  }
  int64_t query_elements() const { return o.batch * o.query_tokens * o.heads * o.head_dim; }
  /// Of head, query and key in relative_bias.
  size_t column(int64_t head, int64_t query, int64_t key) const {
    return static_cast<size_t>(head * (o.key_tokens + o.query_tokens - 1) + key - query + o.query_tokens - 1);
  }
  int64_t key_elements() const { return o.batch * o.key_tokens * o.key_heads * o.head_dim; }

  Options o;
  AttentionShape shape;
  std::vector<int32_t> first, end;
  std::vector<float> bias;
  std::vector<double> q, k, v, d_out;
};

struct Results {
  std::vector<double> out, dq, dk, dv;
  std::vector<double> log_sum_exp;
  std::vector<double> d_bias = {};
};

inline Results exact_results(const Example& e) {
  Results r;
  const auto queries = static_cast<size_t>(e.query_elements());
  const auto keys = static_cast<size_t>(e.key_elements());
  r.out.resize(queries);
  r.dq.resize(queries);
  r.dk.resize(keys);
  r.dv.resize(keys);
  reference::attention_forward(e.shape, e.q, e.k, e.v, e.o.dropout, r.out);
  r.d_bias.resize(e.bias.size());
  reference::attention_backward(e.shape, e.q, e.k, e.v, e.o.dropout, e.d_out, r.dq, r.dk, r.dv, r.d_bias);
  return r;
}

/// The same mathematics done plainly in its type: every matrix between two products is rounded, and in f32 every sum.
inline Results plain_results(const Example& e) {
  const auto round = [&](double x) { return rounded(x, e.o.type); };
  // Products of bf16 are summed in f32, which is as good as exact beside them.
  const auto add = [&](double& sum, double x) { sum = e.o.type == DType::kF32 ? round(sum + x) : sum + x; };
  const auto dim = static_cast<size_t>(e.o.head_dim);
  Results r;
  r.out.assign(e.q.size(), 0.0);
  r.dq.assign(e.q.size(), 0.0);
  r.dk.assign(e.k.size(), 0.0);
  r.dv.assign(e.k.size(), 0.0);
  r.d_bias.assign(e.bias.size(), 0.0);
  for (int64_t b = 0; b < e.o.batch; ++b) {
    for (int64_t h = 0; h < e.o.heads; ++h) {
      const int64_t key_head = h / (e.o.heads / e.o.key_heads);
      for (int64_t i = 0; i < e.o.query_tokens; ++i) {
        const auto at = static_cast<size_t>((b * e.o.query_tokens + i) * e.o.heads + h) * dim;
        const auto key_at = [&](int64_t j) {
          return static_cast<size_t>((b * e.o.key_tokens + j) * e.o.key_heads + key_head) * dim;
        };
        const auto dot = [&](const std::vector<double>& x, size_t x_at, const std::vector<double>& y, size_t y_at) {
          double sum = 0.0;
          for (size_t d = 0; d < dim; ++d) add(sum, x[x_at + d] * y[y_at + d]);
          return sum;
        };
        std::vector<int64_t> seen;
        std::vector<double> p, factors;
        double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
        for (int64_t j = 0; j < e.o.key_tokens; ++j) {
          const int64_t distance = i + e.o.key_tokens - e.o.query_tokens - j;
          const auto row = static_cast<size_t>(b * e.o.query_tokens + i);
          if (e.o.causal && distance < 0) continue;
          if (e.o.window > 0 && std::abs(distance) >= e.o.window) continue;
          if (e.o.documents && (j < e.first[row] || j >= e.end[row])) continue;
          seen.push_back(j);
          const double by_distance = e.o.bias ? static_cast<double>(e.bias[e.column(h, i, j)]) : 0.0;
          p.push_back(round(static_cast<double>(e.shape.scale) * dot(e.q, at, e.k, key_at(j)) + by_distance));
          largest = std::max(largest, p.back());
          const int64_t element = (h * e.o.query_tokens + i) * e.o.key_tokens + j;
          const Dropout& dropout = e.o.dropout;
          const bool dropped =
              dropout.active() && dropout.stream(b).word(static_cast<uint64_t>(element)) < dropout.threshold();
          factors.push_back(dropped ? 0.0 : static_cast<double>(dropout.keep_scale()));
        }
        for (double& x : p) sum += x = std::exp(x - largest);
        for (double& x : p) x = round(x / sum);
        double delta = 0.0;
        std::vector<double> dp;
        for (size_t n = 0; n < seen.size(); ++n) {
          for (size_t d = 0; d < dim; ++d) {
            add(r.out[at + d], round(p[n] * factors[n]) * e.v[key_at(seen[n]) + d]);
            add(r.dv[key_at(seen[n]) + d], round(p[n] * factors[n]) * e.d_out[at + d]);
          }
          dp.push_back(round(dot(e.d_out, at, e.v, key_at(seen[n])) * factors[n]));
          add(delta, p[n] * dp[n]);
        }
        for (size_t n = 0; n < seen.size(); ++n) {
          if (e.o.bias) add(r.d_bias[e.column(h, i, seen[n])], round(p[n] * (dp[n] - delta)));
          const double ds = round(round(p[n] * (dp[n] - delta)) * static_cast<double>(e.shape.scale));
          for (size_t d = 0; d < dim; ++d) {
            add(r.dq[at + d], ds * e.k[key_at(seen[n]) + d]);
            add(r.dk[key_at(seen[n]) + d], ds * e.q[at + d]);
          }
        }
      }
    }
  }
  for (auto* values : {&r.out, &r.dq, &r.dk, &r.dv}) *values = rounded(*values, e.o.type);
  return r;
}

/// At most twice as far from the exact results as plain mathematics in its type are.
inline void expect_right(const Results& actual, const Example& e) {
  const Results exact = exact_results(e);
  const Results plain = plain_results(e);
  expect_within_twice(actual.out, plain.out, exact.out, e.o.type);
  expect_within_twice(actual.dq, plain.dq, exact.dq, e.o.type);
  expect_within_twice(actual.dk, plain.dk, exact.dk, e.o.type);
  expect_within_twice(actual.dv, plain.dv, exact.dv, e.o.type);
  if (e.o.bias) expect_within_twice(actual.d_bias, plain.d_bias, exact.d_bias, e.o.type);
}

}  // namespace tsugi::testing
