#include <string>
#include <type_traits>

#include "ops/base/error.h"
#include "ops/cuda/dropout.cuh"
#include "ops/norm/norm_cuda.h"
#include "ops/reduce/reduce_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kProcessors = 132;  // of an H200
constexpr int kMostWarps = 32;        // of a group

/// Sums of a group that is a block, [turn][sum][warp]: turns alternate, so that one barrier orders writes and reads.
struct NormShared {
  dev::SharedArray<float, 2 * 2 * kMostWarps> sums;
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

/// A group is a warp (Warps = 1) or the block (Warps = 4, 16 or 32). A row's elements lie in the registers of a group:
/// thread t holds vectors t, t + threads, …, `Chunks` of them, of V elements.
template <int V, int Chunks, int Warps>
struct Group {
  static constexpr int kGroupThreads = Warps * 32;
  static constexpr int kBlockThreads = kGroupThreads > kThreads ? kGroupThreads : kThreads;
  static constexpr int kGroupsPerBlock = kBlockThreads / kGroupThreads;
  /// Blocks of the backward pass for whose registers an SM has room; a thread has V·Chunks elements.
  static constexpr int kBackwardBlocks = Warps > 4 ? 1 : Chunks <= 2 ? 4 : V* Chunks <= 24 ? 3 : 2;
  /// Whether there is also room for gamma, and for what is only needed in the end.
  static constexpr bool kKeepsAll = Warps <= 4;
  /// Groups of the backward pass. A number of the shape alone, so that sums do not depend on the device.
  static constexpr int64_t kMaxGroups = kProcessors * kBackwardBlocks * kGroupsPerBlock;

  static TSUGI_DEVICE int thread() { return dev::thread_index() % kGroupThreads; }
  static TSUGI_DEVICE int64_t index() {
    return static_cast<int64_t>(dev::block_index().x) * kGroupsPerBlock + dev::thread_index() / kGroupThreads;
  }
  static TSUGI_DEVICE int64_t column(int chunk) { return (static_cast<int64_t>(chunk) * kGroupThreads + thread()) * V; }
  /// The chunk's vector of a row. Outside of the row it is the row's first one, without a branch behind which nothing
  /// else would be loaded; element by element, where addresses would take too many registers, zero.
  template <class T>
  static TSUGI_DEVICE dev::Packed<T, V> load(const T* row, int chunk, int64_t width) {
    if constexpr (V == 1) {
      if (column(chunk) >= width) return {};
      return dev::load_packed<V>(row + column(chunk));
    } else {
      return dev::load_packed<V>(row + (column(chunk) < width ? column(chunk) : 0));
    }
  }

  /// Replaces every value by its sum over the group. Consecutive calls take turns 0 and 1.
  template <int Sums>
  static TSUGI_DEVICE void sum(int turn, float (&values)[Sums]) {
    TSUGI_UNROLL
    for (int i = 0; i < Sums; ++i) values[i] = dev::warp_sum(values[i]);
    if constexpr (Warps > 1) {
      auto& slots = dev::shared<NormShared>().sums;
      if (dev::lane_index() == 0) {
        TSUGI_UNROLL
        for (int i = 0; i < Sums; ++i) slots[(turn * 2 + i) * kMostWarps + dev::warp_index()] = values[i];
      }
      dev::sync_threads();
      TSUGI_UNROLL
      for (int i = 0; i < Sums; ++i) {
        values[i] = 0.0f;
        TSUGI_UNROLL
        for (int warp = 0; warp < Warps; warp += 4) {
          const dev::Vector<float, 4> parts = slots.template load<4>((turn * 2 + i) * kMostWarps + warp);
          values[i] += parts[0] + parts[1] + (parts[2] + parts[3]);
        }
      }
    }
  }
};

/// Where a row stands. Rows are fewer than 2³¹: they are blocks of a grid.
struct Place {
  int64_t sample, token;
};
TSUGI_DEVICE Place place_of(int64_t row, int64_t tokens) {
  const uint32_t sample = static_cast<uint32_t>(row) / static_cast<uint32_t>(tokens);
  return {sample, row - int64_t{sample} * tokens};
}

/// Centered: LayerNorm; else RMSNorm. Adding: there may be a branch; Dropping: dropout may be active.
template <bool Centered, bool Adding, bool Dropping, class T, int V, int Chunks, int Warps>
TSUGI_KERNEL((Group<V, Chunks, Warps>::kBlockThreads), Warps > 4 ? 1 : 2)
forward(Forward<T> p) {
  using G = Group<V, Chunks, Warps>;
  const int64_t row = G::index();
  if (row >= p.rows) return;  // a whole group
  const float width = static_cast<float>(p.width);
  dev::Packed<T, V> xs[Chunks], branches[Chunks];
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    xs[chunk] = G::load(p.x + row * p.width, chunk, p.width);
    branches[chunk] = {};
    if constexpr (Adding) {
      if (p.branch != nullptr) branches[chunk] = G::load(p.branch + row * p.width, chunk, p.width);
    }
  }
  float values[Chunks][V];
  float total[] = {0.0f};
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int64_t column = G::column(chunk);
    const dev::Vector<T, V> x = xs[chunk].unpacked();
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) values[chunk][i] = column < p.width ? dev::to_float(x[i]) : 0.0f;
    if (column >= p.width) continue;
    if constexpr (Adding) {
      if (p.branch != nullptr) {
        float factors[V];
        TSUGI_UNROLL
        for (int i = 0; i < V; ++i) factors[i] = 1.0f;
        if (Dropping && p.dropout.active()) {
          const Place place = place_of(row, p.tokens);
          dev::dropout_factors<V>(p.dropout, place.sample, place.token * p.width + column, factors);
        }
        const dev::Vector<T, V> branch = branches[chunk].unpacked();
        dev::Vector<T, V> sum;
        TSUGI_UNROLL
        for (int i = 0; i < V; ++i) {
          sum[i] = dev::round_to<T>(values[chunk][i] + dev::to_float(branch[i]) * factors[i]);
          values[chunk][i] = dev::to_float(sum[i]);  // what is stored is what is normalised
        }
        dev::store_vector(p.residual + row * p.width + column, sum);
      }
    }
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) total[0] += values[chunk][i];
  }
  float mean = 0.0f;
  if constexpr (Centered) {
    G::sum(0, total);
    mean = total[0] / width;
  }
  float squares[] = {0.0f};
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    if (G::column(chunk) >= p.width) continue;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) squares[0] += (values[chunk][i] - mean) * (values[chunk][i] - mean);
  }
  G::sum(1, squares);
  const float rstd = 1.0f / dev::sqrt(squares[0] / width + p.epsilon);
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

/// Group g takes rows g, g + groups, … and keeps its part of d_gamma and d_beta in registers. All of a row is loaded
/// before any of it is used, and stays packed: the second time through, normalised values are computed again. Dropping:
/// dropout may be active; Later: d_residual may hold a gradient.
template <bool Centered, bool Dropping, bool Later, class T, int V, int Chunks, int Warps>
TSUGI_KERNEL((Group<V, Chunks, Warps>::kBlockThreads), (Group<V, Chunks, Warps>::kBackwardBlocks))
backward(Backward<T> p) {
  using G = Group<V, Chunks, Warps>;
  const int64_t group = G::index();
  if (group >= p.groups) return;  // a whole group
  const float width = static_cast<float>(p.width);
  float d_gamma[Chunks][V], d_beta[Chunks][V];
  dev::Packed<T, V> gammas[Chunks];
  TSUGI_UNROLL
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    if constexpr (G::kKeepsAll) gammas[chunk] = G::load(p.gamma, chunk, p.width);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) d_gamma[chunk][i] = d_beta[chunk][i] = 0.0f;
  }
  int turn = 0;
  for (int64_t row = group; row < p.rows; row += p.groups, turn ^= 1) {
    dev::Packed<T, V> xs[Chunks], gradients[Chunks], laters[Chunks];
    TSUGI_UNROLL
    for (int chunk = 0; chunk < Chunks; ++chunk) {
      xs[chunk] = G::load(p.residual + row * p.width, chunk, p.width);
      gradients[chunk] = G::load(p.d_normed + row * p.width, chunk, p.width);
      laters[chunk] = {};
      if constexpr (Later && G::kKeepsAll) {
        if (p.has_d_residual) laters[chunk] = G::load(p.d_residual + row * p.width, chunk, p.width);
      }
    }
    float mean = 0.0f;
    if constexpr (Centered) mean = dev::load(p.mean + row);
    const float rstd = dev::load(p.rstd + row);
    float sums[2] = {};  // of scaled · hat, and of scaled
    TSUGI_UNROLL
    for (int chunk = 0; chunk < Chunks; ++chunk) {
      if (G::column(chunk) >= p.width) gradients[chunk] = {};
      if constexpr (!G::kKeepsAll) gammas[chunk] = G::load(p.gamma, chunk, p.width);
      const dev::Vector<T, V> x = xs[chunk].unpacked(), d = gradients[chunk].unpacked(), g = gammas[chunk].unpacked();
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        const float gradient = dev::to_float(d[i]);
        const float hat = (dev::to_float(x[i]) - mean) * rstd;
        const float scaled = gradient * dev::to_float(g[i]);
        d_gamma[chunk][i] += gradient * hat;
        if constexpr (Centered) d_beta[chunk][i] += gradient;
        sums[0] += scaled * hat;
        sums[1] += scaled;
      }
    }
    float average = 0.0f;
    if constexpr (Centered) {
      G::sum(turn, sums);
      average = sums[1] / width;
    } else {
      float products[] = {sums[0]};
      G::sum(turn, products);
      sums[0] = products[0];
    }
    const float product_average = sums[0] / width;
    TSUGI_UNROLL
    for (int chunk = 0; chunk < Chunks; ++chunk) {
      const int64_t column = G::column(chunk);
      if (column >= p.width) continue;
      const int64_t at = row * p.width + column;
      if constexpr (!G::kKeepsAll) gammas[chunk] = dev::load_packed<V>(p.gamma + column);
      if constexpr (Later && !G::kKeepsAll) {
        if (p.has_d_residual) laters[chunk] = dev::load_packed<V>(p.d_residual + at);
      }
      const dev::Vector<T, V> x = xs[chunk].unpacked(), d = gradients[chunk].unpacked(), g = gammas[chunk].unpacked();
      const dev::Vector<T, V> later = laters[chunk].unpacked();
      dev::Vector<T, V> out;
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        const float hat = (dev::to_float(x[i]) - mean) * rstd;
        const float scaled = dev::to_float(d[i]) * dev::to_float(g[i]);
        out[i] = dev::round_to<T>(dev::to_float(later[i]) + (scaled - average - hat * product_average) * rstd);
      }
      dev::store_vector(p.d_residual + at, out);
      if constexpr (Dropping) {
        if (!p.dropout.active()) continue;
        const Place place = place_of(row, p.tokens);
        float factors[V];
        dev::dropout_factors<V>(p.dropout, place.sample, place.token * p.width + column, factors);
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
  if (width % kV == 0 && chunks(kV, 32) <= 3) return f(Group<kV, 3, 1>{});
  if (width % kV == 0 && chunks(kV, 32) <= 4) return f(Group<kV, 4, 1>{});
  if (width % kV == 0 && chunks(kV, kThreads) <= 2) return f(Group<kV, 2, 4>{});
  if (width % kV == 0 && chunks(kV, kThreads) <= 4) return f(Group<kV, 4, 4>{});
  if (chunks(1, kThreads) <= 8) return f(Group<1, 8, 4>{});
  constexpr int kWide = 16 * 32;
  if (width % kV == 0 && chunks(kV, kWide) <= 16 / kV) return f(Group<kV, 16 / kV, 16>{});
  if (chunks(1, 2 * kWide) <= 6) return f(Group<1, 6, 32>{});
  throw Error(ExitCode::kUsage, "CUDA: a norm over " + std::to_string(width) + " elements is not built",
              "the width must be at most 6144, or a multiple of 16 bytes up to 8192");
}

int64_t groups_of(const NormShape& shape) {
  int64_t most = 0;
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    choose_group<T>(shape.width, [&](auto group) { most = decltype(group)::kMaxGroups; });
  });
  return shape.rows() < most ? shape.rows() : most;
}

/// Calls f with two std::bool_constants: a kernel's inputs. Groups that go element by element are built for both, and
/// ask.
template <int V, class F>
void choose_inputs(bool first, bool second, F&& f) {
  if constexpr (V == 1) {
    f(std::true_type{}, std::true_type{});
  } else if (first) {
    second ? f(std::true_type{}, std::true_type{}) : f(std::true_type{}, std::false_type{});
  } else {
    second ? f(std::false_type{}, std::true_type{}) : f(std::false_type{}, std::false_type{});
  }
}

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
      choose_inputs<V>(branch != nullptr, branch != nullptr && dropout.active(), [&](auto adding, auto dropping) {
        constexpr bool kAdding = decltype(adding)::value, kDropping = kAdding && decltype(dropping)::value;
        launch(stream,
               beta != nullptr ? forward<true, kAdding, kDropping, T, V, Chunks, Warps>
                               : forward<false, kAdding, kDropping, T, V, Chunks, Warps>,
               size_for<decltype(group)>(p.rows), p);
      });
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
      choose_inputs<V>(dropout.active(), has_d_residual, [&](auto dropping, auto later) {
        constexpr bool kDropping = decltype(dropping)::value, kLater = decltype(later)::value;
        launch(stream,
               mean != nullptr ? backward<true, kDropping, kLater, T, V, Chunks, Warps>
                               : backward<false, kDropping, kLater, T, V, Chunks, Warps>,
               size_for<decltype(group)>(groups), p);
      });
    });
  });
  add_partial_sums(stream, scratch, groups, 2 * shape.width, shape.width, d_gamma, d_beta);
}

}  // namespace tsugi::cuda
