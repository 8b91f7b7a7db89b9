#include "ops/image_tokens/image_tokens.h"

#include <algorithm>
#include <vector>

namespace tsugi {
namespace {

/// `b` may be null.
template <class T>
void add_row(const T* a, const T* b, int64_t width, T* out) {
  if (b == nullptr) {
    std::copy_n(a, width, out);
    return;
  }
  for (int64_t c = 0; c < width; ++c) store(out[c], static_cast<float>(a[c]) + static_cast<float>(b[c]));
}

}  // namespace

void image_tokens(const Context& context, const Tensor& patches, const Tensor& class_token, const Tensor& positions,
                  const Tensor& out) {
  const int64_t batch = patches.shape()[0];
  const int64_t count = patches.shape()[1];
  const int64_t width = patches.shape()[2];
  CHECK(class_token.shape() == Shape({1, width}) && class_token.dtype() == patches.dtype());
  CHECK(out.shape() == Shape({batch, 1 + count, width}));
  if (positions.defined()) {
    CHECK(positions.shape() == Shape({1 + count, width}) && positions.dtype() == patches.dtype());
  }
  CHECK(out.dtype() == patches.dtype());
  if (DeviceOperators* device = context.operators()) {
    return device->image_tokens(context, patches, class_token, positions, out);
  }
  if (context.meta()) return;
  dispatch_compute_type(patches.dtype(), [&]<class T>(T) {
    const T* const places = positions.defined() ? positions.data<T>() : nullptr;
    context.pool().for_each(batch, [&](int64_t b, int) {
      T* const to = out.data<T>() + b * (1 + count) * width;
      add_row(class_token.data<T>(), places, width, to);
      add_row(patches.data<T>() + b * count * width, places == nullptr ? nullptr : places + width, count * width,
              to + width);
    });
  });
}

void image_tokens_backward(const Context& context, const Tensor& d_out, const Tensor& d_patches,
                           const Tensor& d_class_token, const Tensor& d_positions) {
  const int64_t batch = d_out.shape()[0];
  const int64_t tokens = d_out.shape()[1];
  const int64_t width = d_out.shape()[2];
  if (d_patches.defined()) {
    CHECK(d_patches.shape() == Shape({batch, tokens - 1, width}) && d_patches.dtype() == d_out.dtype());
  }
  if (d_class_token.defined()) {
    CHECK(d_class_token.shape() == Shape({1, width}) && d_class_token.dtype() == DType::kF32);
  }
  if (d_positions.defined()) {
    CHECK(d_positions.shape() == Shape({tokens, width}) && d_positions.dtype() == DType::kF32);
  }
  if (DeviceOperators* device = context.operators()) {
    return device->image_tokens_backward(context, d_out, d_patches, d_class_token, d_positions);
  }
  if (context.meta()) return;
  dispatch_compute_type(d_out.dtype(), [&]<class T>(T) {
    const T* const from = d_out.data<T>();
    context.pool().for_each(tokens, [&](int64_t t, int) {
      std::vector<float> sums(static_cast<size_t>(width), 0.0f);
      for (int64_t b = 0; b < batch; ++b) {
        const T* const row = from + (b * tokens + t) * width;
        for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<float>(row[c]);
        if (t > 0 && d_patches.defined()) {
          std::copy_n(row, width, d_patches.data<T>() + (b * (tokens - 1) + t - 1) * width);
        }
      }
      if (d_positions.defined()) {
        for (int64_t c = 0; c < width; ++c) d_positions.data<float>()[t * width + c] += sums[c];
      }
      if (t == 0 && d_class_token.defined()) {
        for (int64_t c = 0; c < width; ++c) d_class_token.data<float>()[c] += sums[c];
      }
    });
  });
}

void mean_of_patches(const Context& context, const Tensor& x, const Tensor& out) {
  const int64_t tokens = x.shape()[1];
  const int64_t width = x.shape()[2];
  CHECK(tokens >= 2 && out.shape() == Shape({x.shape()[0], width}) && out.dtype() == x.dtype());
  if (DeviceOperators* device = context.operators()) return device->mean_of_patches(context, x, out);
  if (context.meta()) return;
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    context.pool().for_each(x.shape()[0], [&](int64_t b, int) {
      std::vector<float> sums(static_cast<size_t>(width), 0.0f);
      const T* const rows = x.data<T>() + b * tokens * width;
      for (int64_t i = width; i < tokens * width; ++i) sums[i % width] += static_cast<float>(rows[i]);
      for (int64_t c = 0; c < width; ++c) {
        store(out.data<T>()[b * width + c], sums[c] / static_cast<float>(tokens - 1));
      }
    });
  });
}

void mean_of_patches_backward(const Context& context, const Tensor& d_out, const Tensor& d_x) {
  const int64_t tokens = d_x.shape()[1];
  const int64_t width = d_x.shape()[2];
  CHECK(tokens >= 2 && d_out.shape() == Shape({d_x.shape()[0], width}) && d_out.dtype() == d_x.dtype());
  if (DeviceOperators* device = context.operators()) return device->mean_of_patches_backward(context, d_out, d_x);
  if (context.meta()) return;
  dispatch_compute_type(d_x.dtype(), [&]<class T>(T) {
    context.pool().for_each(d_x.shape()[0], [&](int64_t b, int) {
      T* const rows = d_x.data<T>() + b * tokens * width;
      const T* const from = d_out.data<T>() + b * width;
      std::fill_n(rows, width, T(0.0f));
      for (int64_t i = width; i < tokens * width; ++i) {
        store(rows[i], static_cast<float>(from[i % width]) / static_cast<float>(tokens - 1));
      }
    });
  });
}

}  // namespace tsugi
