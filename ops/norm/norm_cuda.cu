#include <string>

#include "ops/base/error.h"
#include "ops/cuda/dropout.cuh"
#include "ops/norm/norm_cuda.h"
#include "ops/reduce/reduce_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
// Groups of the backward pass. A fixed number, so that sums do not depend on the device: 8 for each of 132 SMs.
constexpr int64_t kMaxGroups = 1056;

struct NormShared {
  dev::BlockScratch<float> scratch;
};

template <class T>
struct Forward {
  const T* x;
  const T* branch;
  const T* gamma;
  const T* beta;
  T* residual;
  T* normed;
  float* mean;
  float* rstd;
  DropoutKey dropout;
  float epsilon;
  int64_t rows, tokens, width;
};

template <class T>
struct Backward {
  const T* residual;
  const T* gamma;
  const float* mean;
  const float* rstd;
  const T* d_normed;
  T* d_residual;
  T* d_branch;
  float* partial;  // [groups, 2, width]
  DropoutKey dropout;
  bool has_d_residual;
  int64_t rows, tokens, width, groups;
};

/// A group is a warp (Warps = 1) or the block (Warps = 4, or 16). A row's elements lie in the registers of a group:
/// thread t holds vectors t, t + threads, …, `Chunks` of them, of V elements.
template <int V, int Chunks, int Warps>
struct Group {
  static constexpr int kGroupThreads = Warps * 32;
  static constexpr int kBlockThreads = kGroupThreads > kThreads ? kGroupThreads : kThreads;
  static constexpr int kGroupsPerBlock = kBlockThreads / kGroupThreads;

  static TSUGI_DEVICE int thread() { return dev::thread_index() % kGroupThreads; }
  static TSUGI_DEVICE int64_t index() {
    return static_cast<int64_t>(dev::block_index().x) * kGroupsPerBlock + dev::thread_index() / kGroupThreads;
  }
  static TSUGI_DEVICE int64_t column(int chunk) { return (static_cast<int64_t>(chunk) * kGroupThreads + thread()) * V; }
  static TSUGI_DEVICE float sum(float x) {
    if constexpr (Warps == 1) {
      return dev::warp_sum(x);
    } else {
      return dev::block_sum(x, dev::shared<NormShared>().scratch);
    }
  }
};

/// Centered: LayerNorm; else RMSNorm.
template <bool Centered, class T, int V, int Chunks, int Warps>
TSUGI_KERNEL((Group<V, Chunks, Warps>::kBlockThreads), Warps > 4 ? 1 : 2)
forward(Forward<T> p) {
  using G = Group<V, Chunks, Warps>;
  const int64_t row = G::index();
  if (row >= p.rows) return;  // a whole group
  const float width = static_cast<float>(p.width);
  float values[Chunks][V];
  float total = 0.0f;
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int64_t column = G::column(chunk);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) values[chunk][i] = 0.0f;
    if (column >= p.width) continue;
    const int64_t at = row * p.width + column;
    const dev::Vector<T, V> x = dev::load_vector<V>(p.x + at);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) values[chunk][i] = dev::to_float(x[i]);
    if (p.branch != nullptr) {
      const dev::Vector<T, V> branch = dev::load_vector<V>(p.branch + at);
      float factors[V];
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) factors[i] = 1.0f;
      if (p.dropout.active()) {
        dev::dropout_factors<V>(p.dropout, row / p.tokens, row % p.tokens * p.width + column, factors);
      }
      dev::Vector<T, V> sum;
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        sum[i] = dev::round_to<T>(values[chunk][i] + dev::to_float(branch[i]) * factors[i]);
        values[chunk][i] = dev::to_float(sum[i]);  // what is stored is what is normalised
      }
      dev::store_vector(p.residual + at, sum);
    }
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) total += values[chunk][i];
  }
  float mean = 0.0f;
  if constexpr (Centered) mean = G::sum(total) / width;
  float squares = 0.0f;
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    if (G::column(chunk) >= p.width) continue;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) squares += (values[chunk][i] - mean) * (values[chunk][i] - mean);
  }
  const float rstd = 1.0f / dev::sqrt(G::sum(squares) / width + p.epsilon);
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int64_t column = G::column(chunk);
    if (column >= p.width) continue;
    const dev::Vector<T, V> gamma = dev::load_vector<V>(p.gamma + column);
    dev::Vector<T, V> beta = {};
    if constexpr (Centered) beta = dev::load_vector<V>(p.beta + column);
    dev::Vector<T, V> normed;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      normed[i] = dev::round_to<T>((values[chunk][i] - mean) * rstd * dev::to_float(gamma[i]) + dev::to_float(beta[i]));
    }
    dev::store_vector(p.normed + row * p.width + column, normed);
  }
  if (G::thread() == 0) {
    if constexpr (Centered) dev::store(p.mean + row, mean);
    dev::store(p.rstd + row, rstd);
  }
}

/// Group g takes rows g, g + groups, … and keeps its part of d_gamma and d_beta in registers.
template <bool Centered, class T, int V, int Chunks, int Warps>
TSUGI_KERNEL((Group<V, Chunks, Warps>::kBlockThreads), Warps > 4 ? 1 : 2)
backward(Backward<T> p) {
  using G = Group<V, Chunks, Warps>;
  const int64_t group = G::index();
  if (group >= p.groups) return;  // a whole group
  const float width = static_cast<float>(p.width);
  float d_gamma[Chunks][V], d_beta[Chunks][V], gamma[Chunks][V];
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int64_t column = G::column(chunk);
    dev::Vector<T, V> g = {};
    if (column < p.width) g = dev::load_vector<V>(p.gamma + column);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      gamma[chunk][i] = dev::to_float(g[i]);
      d_gamma[chunk][i] = d_beta[chunk][i] = 0.0f;
    }
  }
  for (int64_t row = group; row < p.rows; row += p.groups) {
    float mean = 0.0f;
    if constexpr (Centered) mean = dev::load(p.mean + row);
    const float rstd = dev::load(p.rstd + row);
    float hats[Chunks][V], scaled[Chunks][V];
    float sum = 0.0f, product_sum = 0.0f;
    TSUGI_UNROLL
    for (int chunk = 0; chunk < Chunks; ++chunk) {
      const int64_t column = G::column(chunk);
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) hats[chunk][i] = scaled[chunk][i] = 0.0f;
      if (column >= p.width) continue;
      const dev::Vector<T, V> x = dev::load_vector<V>(p.residual + row * p.width + column);
      const dev::Vector<T, V> d = dev::load_vector<V>(p.d_normed + row * p.width + column);
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        const float gradient = dev::to_float(d[i]);
        hats[chunk][i] = (dev::to_float(x[i]) - mean) * rstd;
        scaled[chunk][i] = gradient * gamma[chunk][i];
        d_gamma[chunk][i] += gradient * hats[chunk][i];
        if constexpr (Centered) d_beta[chunk][i] += gradient;
        sum += scaled[chunk][i];
        product_sum += scaled[chunk][i] * hats[chunk][i];
      }
    }
    float average = 0.0f;
    if constexpr (Centered) average = G::sum(sum) / width;
    const float product_average = G::sum(product_sum) / width;
    TSUGI_UNROLL
    for (int chunk = 0; chunk < Chunks; ++chunk) {
      const int64_t column = G::column(chunk);
      if (column >= p.width) continue;
      const int64_t at = row * p.width + column;
      dev::Vector<T, V> later = {};
      if (p.has_d_residual) later = dev::load_vector<V>(p.d_residual + at);
      float total[V];
      dev::Vector<T, V> out;
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        total[i] = dev::to_float(later[i]) + (scaled[chunk][i] - average - hats[chunk][i] * product_average) * rstd;
        out[i] = dev::round_to<T>(total[i]);
      }
      dev::store_vector(p.d_residual + at, out);
      if (p.dropout.active()) {
        float factors[V];
        dev::dropout_factors<V>(p.dropout, row / p.tokens, row % p.tokens * p.width + column, factors);
        TSUGI_UNROLL
        for (int i = 0; i < V; ++i) out[i] = dev::round_to<T>(dev::to_float(out[i]) * factors[i]);
        dev::store_vector(p.d_branch + at, out);
      }
    }
  }
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int64_t column = G::column(chunk);
    if (column >= p.width) continue;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      dev::store(p.partial + group * 2 * p.width + column + i, d_gamma[chunk][i]);
      if constexpr (Centered) dev::store(p.partial + (group * 2 + 1) * p.width + column + i, d_beta[chunk][i]);
    }
  }
}

/// Calls f with the smallest group that holds a row in its registers: a warp up to 1024 elements (512 of f32), the
/// block above, one of 16 warps beyond 4096 (2048 of f32; 1024 where rows are no multiple of 16 bytes). Rows that are
/// no multiple of 16 bytes go element by element.
template <class T, class F>
void choose_group(int64_t width, F&& f) {
  constexpr int kV = dev::kVectorElements<T>;
  const auto chunks = [&](int64_t vector, int64_t threads) {
    return (width + vector * threads - 1) / (vector * threads);
  };
  if (width % kV == 0 && chunks(kV, 32) <= 2) return f(Group<kV, 2, 1>{});
  if (width % kV == 0 && chunks(kV, 32) <= 4) return f(Group<kV, 4, 1>{});
  if (width % kV == 0 && chunks(kV, kThreads) <= 4) return f(Group<kV, 4, 4>{});
  if (chunks(1, kThreads) <= 8) return f(Group<1, 8, 4>{});
  constexpr int kWide = 16 * 32;
  if (width % kV == 0 && chunks(kV, kWide) <= 16 / kV) return f(Group<kV, 16 / kV, 16>{});
  if (chunks(1, kWide) <= 12) return f(Group<1, 12, 16>{});
  throw Error(ExitCode::kUsage, "CUDA: a norm over " + std::to_string(width) + " elements is not built",
              "the width must be at most 6144, or a multiple of 16 bytes up to 8192");
}

int64_t groups_of(const NormShape& shape) { return shape.rows() < kMaxGroups ? shape.rows() : kMaxGroups; }

template <class G>
LaunchSize size_for(int64_t groups) {
  const auto blocks = static_cast<unsigned>((groups + G::kGroupsPerBlock - 1) / G::kGroupsPerBlock);
  return {{blocks, 1, 1}, G::kBlockThreads, sizeof(NormShared)};
}

}  // namespace

void check_norm(const NormShape& shape) {
  dispatch_compute_type(shape.type, [&]<class T>(T) { choose_group<T>(shape.width, [](auto) {}); });
}

size_t norm_scratch_bytes(const NormShape& shape) {
  return static_cast<size_t>(groups_of(shape) * 2 * shape.width) * sizeof(float);
}

void residual_norm_forward(Stream& stream, const NormShape& shape, const void* x, const void* branch,
                           const DropoutKey& dropout, const void* gamma, const void* beta, float epsilon,
                           void* residual, void* normed, float* mean, float* rstd) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    const Forward<T> p{.x = static_cast<const T*>(x),
                       .branch = static_cast<const T*>(branch),
                       .gamma = static_cast<const T*>(gamma),
                       .beta = static_cast<const T*>(beta),
                       .residual = static_cast<T*>(residual),
                       .normed = static_cast<T*>(normed),
                       .mean = mean,
                       .rstd = rstd,
                       .dropout = dropout,
                       .epsilon = epsilon,
                       .rows = shape.rows(),
                       .tokens = shape.tokens,
                       .width = shape.width};
    choose_group<T>(shape.width, [&]<int V, int Chunks, int Warps>(Group<V, Chunks, Warps> group) {
      launch(stream, beta != nullptr ? forward<true, T, V, Chunks, Warps> : forward<false, T, V, Chunks, Warps>,
             size_for<decltype(group)>(p.rows), p);
    });
  });
}

void residual_norm_backward(Stream& stream, const NormShape& shape, const void* residual, const void* gamma,
                            const float* mean, const float* rstd, const void* d_normed, const DropoutKey& dropout,
                            bool has_d_residual, void* d_residual, void* d_branch, float* scratch, float* d_gamma,
                            float* d_beta) {
  const int64_t groups = groups_of(shape);
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    const Backward<T> p{.residual = static_cast<const T*>(residual),
                        .gamma = static_cast<const T*>(gamma),
                        .mean = mean,
                        .rstd = rstd,
                        .d_normed = static_cast<const T*>(d_normed),
                        .d_residual = static_cast<T*>(d_residual),
                        .d_branch = static_cast<T*>(d_branch),
                        .partial = scratch,
                        .dropout = dropout,
                        .has_d_residual = has_d_residual,
                        .rows = shape.rows(),
                        .tokens = shape.tokens,
                        .width = shape.width,
                        .groups = groups};
    choose_group<T>(shape.width, [&]<int V, int Chunks, int Warps>(Group<V, Chunks, Warps> group) {
      launch(stream, mean != nullptr ? backward<true, T, V, Chunks, Warps> : backward<false, T, V, Chunks, Warps>,
             size_for<decltype(group)>(groups), p);
    });
  });
  add_partial_sums(stream, scratch, groups, 2 * shape.width, shape.width, d_gamma);
  if (d_beta != nullptr) {
    add_partial_sums(stream, scratch + shape.width, groups, 2 * shape.width, shape.width, d_beta);
  }
}

}  // namespace tsugi::cuda
