// Inputs, memory layouts and oracles of the attention tests.
#pragma once

#include <limits>

#include "ops/attention/attention.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Contiguous [batch, tokens, heads, head_dim] arrays.
struct Inputs {
  std::vector<double> q, k, v, d_out;
};
struct Results {
  std::vector<double> out, log_sum_exp, dq, dk, dv;
};

inline AttentionShape make_shape(int64_t batch, int64_t query_tokens, int64_t key_tokens, int64_t heads,
                                 int64_t head_dim, DType dtype = DType::kF32) {
  return {batch, query_tokens, key_tokens, heads, head_dim, dtype, 1.0f / std::sqrt(static_cast<float>(head_dim))};
}

/// Random arrays, rounded to the type of the shape.
inline Inputs make_inputs(const AttentionShape& shape, uint64_t seed, double scale = 1.0) {
  CpuContext cpu;
  const auto make = [&](int64_t tokens, int64_t heads, uint64_t index, double s) {
    auto values = random_values(shape.batch * tokens * heads * shape.head_dim, 10 * seed + index, s);
    to_tensor(cpu, values, {static_cast<int64_t>(values.size())}, shape.dtype);
    return values;
  };
  return {make(shape.query_tokens, shape.heads, 0, scale), make(shape.key_tokens, shape.kv_heads(), 1, scale),
          make(shape.key_tokens, shape.kv_heads(), 2, 1.0), make(shape.query_tokens, shape.heads, 3, 1.0)};
}

/// Strided memory for one array, NaN where the array does not lie.
struct Strided {
  Tensor memory;
  HeadsView view;
};

enum class Layout {
  kPacked,  ///< q, k and v in one [batch, tokens, (heads + 2·key heads)·head_dim]; needs as many queries as keys
  kCache,   ///< every array alone, with room for more tokens behind those in use
};

class Arrays {
 public:
  Arrays(const Context& context, const AttentionShape& shape, Layout layout) : shape_(shape) {
    const int64_t key_width = shape.kv_heads() * shape.head_dim;
    const int64_t query_width = shape.heads * shape.head_dim;
    const auto allocate = [&](int64_t tokens, int64_t row) {
      std::vector<double> nothing(static_cast<size_t>(shape.batch * tokens * row), kNan);
      return to_tensor(context, nothing, {shape.batch, tokens, row}, shape.dtype);
    };
    if (layout == Layout::kPacked) {
      const int64_t row = query_width + 2 * key_width;
      const Tensor packed = allocate(shape.query_tokens, row);
      for (int64_t i = 0; i < 3; ++i) {
        void* const data = packed.slice(i == 0 ? 0 : query_width + (i - 1) * key_width, {1}).raw();
        parts_[i] = {packed, {data, shape.query_tokens * row, row, shape.head_dim}};
      }
    } else {
      for (int64_t i = 0; i < 3; ++i) {
        const int64_t room = tokens(i) + 3;
        const int64_t width = heads(i) * shape.head_dim;
        const Tensor memory = allocate(room, width);
        parts_[i] = {memory, {memory.raw(), room * width, width, shape.head_dim}};
      }
    }
  }

  const HeadsView& operator[](int64_t part) const { return parts_[part].view; }

  void write(int64_t part, std::span<const double> values) {
    for_each(part, [&](auto* element, size_t i) {
      *element = std::remove_reference_t<decltype(*element)>(static_cast<float>(values[i]));
    });
  }
  std::vector<double> read(int64_t part) const {
    std::vector<double> values(static_cast<size_t>(shape_.batch * tokens(part) * heads(part) * shape_.head_dim));
    for_each(part, [&](auto* element, size_t i) { values[i] = static_cast<double>(static_cast<float>(*element)); });
    return values;
  }
  /// How many elements of the memory are not NaN.
  int64_t written(int64_t part) const {
    const std::vector<double> values = to_doubles(parts_[part].memory);
    return std::count_if(values.begin(), values.end(), [](double value) { return !std::isnan(value); });
  }

 private:
  int64_t tokens(int64_t part) const { return part == 0 ? shape_.query_tokens : shape_.key_tokens; }
  int64_t heads(int64_t part) const { return part == 0 ? shape_.heads : shape_.kv_heads(); }

  template <class F>
  void for_each(int64_t part, F&& f) const {
    dispatch_compute_type(shape_.dtype, [&]<class T>(T) {
      const HeadsView& view = parts_[part].view;
      size_t i = 0;
      for (int64_t b = 0; b < shape_.batch; ++b) {
        for (int64_t t = 0; t < tokens(part); ++t) {
          for (int64_t h = 0; h < heads(part); ++h) {
            for (int64_t d = 0; d < shape_.head_dim; ++d) {
              f(static_cast<T*>(view.data) + b * view.batch_stride + t * view.token_stride + h * view.head_stride + d,
                i++);
            }
          }
        }
      }
    });
  }

  AttentionShape shape_;
  Strided parts_[3];
};

inline Results run(const Context& context, const AttentionShape& shape, const Inputs& inputs,
                   const Dropout& dropout = {}, Layout layout = Layout::kCache) {
  Arrays arrays(context, shape, layout);
  arrays.write(0, inputs.q);
  arrays.write(1, inputs.k);
  arrays.write(2, inputs.v);
  Arrays gradients(context, shape, layout);
  std::vector<double> d_out_values = inputs.d_out;
  const Shape out_shape{shape.batch, shape.query_tokens, shape.heads * shape.head_dim};
  const Tensor d_out = to_tensor(context, d_out_values, out_shape, shape.dtype);
  const Tensor out = context.empty(out_shape, shape.dtype);
  const Tensor log_sum_exp = context.empty({shape.batch, shape.heads, shape.query_tokens}, DType::kF32);
  attention_forward(context, shape, arrays[0], arrays[1], arrays[2], dropout, out, log_sum_exp);
  attention_backward(context, shape, arrays[0], arrays[1], arrays[2], dropout, out, log_sum_exp, d_out, gradients[0],
                     gradients[1], gradients[2]);
  const int64_t query_elements = out_shape.elements();
  const int64_t key_elements = shape.batch * shape.key_tokens * shape.kv_heads() * shape.head_dim;
  if (layout == Layout::kCache) {
    EXPECT_EQ(gradients.written(0), query_elements) << "dq outside its tokens, or NaN";
    EXPECT_EQ(gradients.written(1), key_elements) << "dk outside its tokens, or NaN";
    EXPECT_EQ(gradients.written(2), key_elements) << "dv outside its tokens, or NaN";
  }
  return {to_doubles(out), to_doubles(log_sum_exp), gradients.read(0), gradients.read(1), gradients.read(2)};
}

inline Results run_reference(const AttentionShape& shape, const Inputs& inputs, const Dropout& dropout = {}) {
  Results r;
  r.out.resize(inputs.q.size());
  r.dq.resize(inputs.q.size());
  r.dk.resize(inputs.k.size());
  r.dv.resize(inputs.v.size());
  reference::attention_forward(shape, inputs.q, inputs.k, inputs.v, dropout, r.out);
  reference::attention_backward(shape, inputs.q, inputs.k, inputs.v, dropout, inputs.d_out, r.dq, r.dk, r.dv);
  return r;
}

inline bool sees(const AttentionShape& shape, int64_t b, int64_t query, int64_t key) {
  const int64_t diagonal = query + shape.key_tokens - shape.query_tokens;
  const auto bound = [&](const Tensor& keys, int64_t none) {
    return keys.defined() ? keys.data<int32_t>()[b * shape.query_tokens + query] : none;
  };
  return (!shape.causal || key <= diagonal) &&
         (shape.window == 0 || (key > diagonal - shape.window && key < diagonal + shape.window)) &&
         key >= bound(shape.first_key, 0) && key < bound(shape.end_key, shape.key_tokens);
}

inline double round_bf16(double value) {
  return static_cast<double>(static_cast<float>(bf16(static_cast<float>(value))));
}

/// The same mathematics with every array that a plain program would store rounded to bf16.
inline Results run_plain_bf16(const AttentionShape& shape, const Inputs& in, const Dropout& dropout) {
  Results r;
  r.out.resize(in.q.size());
  r.dq.resize(in.q.size());
  r.dk.resize(in.k.size());
  r.dv.resize(in.v.size());
  const auto at = [&](int64_t tokens, int64_t heads, int64_t b, int64_t t, int64_t h) {
    return static_cast<size_t>(((b * tokens + t) * heads + h) * shape.head_dim);
  };
  const auto width = static_cast<size_t>(shape.head_dim);
  const auto dot = [&](const double* a, const double* b) {
    double sum = 0.0;
    for (size_t d = 0; d < width; ++d) sum += a[d] * b[d];
    return round_bf16(sum);
  };
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t i = 0; i < shape.query_tokens; ++i) {
        const size_t query = at(shape.query_tokens, shape.heads, b, i, h);
        const int64_t kv_head = h / shape.group();
        std::vector<double> p, factor, dp;
        std::vector<int64_t> seen;
        for (int64_t j = 0; j < shape.key_tokens; ++j) {
          if (!sees(shape, b, i, j)) continue;
          seen.push_back(j);
          const size_t key = at(shape.key_tokens, shape.kv_heads(), b, j, kv_head);
          p.push_back(round_bf16(static_cast<double>(shape.scale) * dot(&in.q[query], &in.k[key])));
          const int64_t element = (h * shape.query_tokens + i) * shape.key_tokens + j;
          const bool dropped = dropout.active() && dropout.stream(b).word(element) < dropout.threshold();
          factor.push_back(dropped ? 0.0 : 1.0 / (1.0 - static_cast<double>(dropout.p)));
          dp.push_back(round_bf16(factor.back() * dot(&in.d_out[query], &in.v[key])));
        }
        const double largest = p.empty() ? 0.0 : *std::max_element(p.begin(), p.end());
        double sum = 0.0;
        for (double& value : p) sum += value = std::exp(value - largest);
        double mean = 0.0;
        for (size_t j = 0; j < p.size(); ++j) {
          p[j] = round_bf16(p[j] / sum);
          mean += p[j] * dp[j];
        }
        for (size_t j = 0; j < p.size(); ++j) {
          const size_t key = at(shape.key_tokens, shape.kv_heads(), b, seen[j], kv_head);
          const double ds = round_bf16(static_cast<double>(shape.scale) * round_bf16(p[j] * (dp[j] - mean)));
          const double dropped = round_bf16(p[j] * factor[j]);
          for (size_t d = 0; d < width; ++d) {
            r.out[query + d] += dropped * in.v[key + d];
            r.dq[query + d] += ds * in.k[key + d];
            r.dk[key + d] += ds * in.q[query + d];
            r.dv[key + d] += dropped * in.d_out[query + d];
          }
        }
      }
    }
  }
  for (auto* values : {&r.out, &r.dq, &r.dk, &r.dv}) {
    for (double& value : *values) value = round_bf16(value);
  }
  return r;
}

}  // namespace tsugi::testing
