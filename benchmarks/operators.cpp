// How fast is each operator, alone, at the shapes that models use?
//   benchmark_operators [--threads=N] [--bf16] [--benchmark_filter=REGEX] [--benchmark_format=json] …
// FLOP/s counts what the algorithm needs (attention: the pairs that are seen), B/s every operand once: read once, or
// written once. The 24M of a GPT-2 matrix do not fit a cache, so rates of memory-bound operators are those of the
// memory. The last row is the tape's own cost: its time by 1000 is that of an entry, recorded and run.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/autograd/tape.h"
#include "ops/activation/activation.h"
#include "ops/attention/attention.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "ops/reduce/reduce.h"
#include "ops/rotary/rotary.h"

namespace {

using namespace tsugi;

struct ModelShape {
  const char* name;
  int64_t batch, tokens, width, heads, vocabulary;

  int64_t rows() const { return batch * tokens; }
  int64_t head_dim() const { return width / heads; }
};
constexpr ModelShape kModels[] = {{"gpt2", 1, 1024, 768, 12, 50304}, {"width64", 4, 64, 64, 4, 128}};

/// What one call costs, by which its rate is given.
struct Cost {
  double flops = 0.0;
  double bytes = 0.0;
};

class Bench {
 public:
  Bench(int threads, DType type) : pool_(threads), type_(type), context_(Device{}, pool_, memory_) {}

  /// Uniform in [-1, 1).
  Tensor random(Shape shape) { return random(shape, type_); }
  Tensor random(Shape shape, DType type) {
    const Tensor tensor = context_.empty(shape, type);
    const RandomStream stream{++seed_, 0, 0};
    dispatch_compute_type(type, [&]<class T>(T) {
      for (int64_t i = 0; i < tensor.elements(); i += 4) {
        const Philox4 words = stream.block(static_cast<uint32_t>(i / 4));
        for (int64_t j = i; j < std::min(i + 4, tensor.elements()); ++j) {
          tensor.data<T>()[j] = T(2.0f * uniform_open(words[static_cast<size_t>(j - i)]) - 1.0f);
        }
      }
    });
    return tensor;
  }
  Tensor zeros(Shape shape) {
    const Tensor tensor = context_.empty(shape, DType::kF32);
    fill_zero(context_, tensor);
    return tensor;
  }
  Tensor integers(Shape shape, const std::function<int64_t(int64_t)>& value) {
    const Tensor tensor = context_.empty(shape, DType::kI32);
    for (int64_t i = 0; i < tensor.elements(); ++i) tensor.data<int32_t>()[i] = static_cast<int32_t>(value(i));
    return tensor;
  }

  /// Registers NAME/MODEL. `make` is called when the benchmark runs, and returns the call to be timed.
  void add(const std::string& name, Cost cost, std::function<std::function<void()>()> make) {
    auto* const registered =
        benchmark::RegisterBenchmark(name.c_str(), [cost, make = std::move(make)](benchmark::State& state) {
          const std::function<void()> call = make();
          for (auto _ : state) call();
          const auto rate = [&](double amount) {
            return benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
          };
          if (cost.flops > 0.0) state.counters["FLOP/s"] = rate(cost.flops);
          if (cost.bytes > 0.0) state.counters["B/s"] = rate(cost.bytes);
        })->Unit(benchmark::kMicrosecond);
    // One thread: processor time, which other programs on the machine disturb less.
    if (pool_.threads() > 1) registered->UseRealTime();
  }

  const Context& context() const { return context_; }
  DType type() const { return type_; }
  double bytes(int64_t elements) const { return static_cast<double>(elements) * static_cast<double>(size_of(type_)); }

 private:
  ThreadPool pool_;
  DType type_;
  HeapMemory memory_;
  Context context_;
  uint64_t seed_ = 0;
};

std::string named(const std::string& operation, const ModelShape& s) { return operation + "/" + s.name; }

/// A linear layer in both layouts of its weight: forward, gradient of the input, gradient of the weight.
void add_linear(Bench& b, const ModelShape& s) {
  const int64_t m = s.rows(), k = s.width, n = 4 * s.width;
  const Cost cost{2.0 * static_cast<double>(m * n * k), 0.0};
  for (const bool out_in : {false, true}) {
    const std::string layout = out_in ? "[out,in]" : "[in,out]";
    const Shape weight = out_in ? Shape{n, k} : Shape{k, n};
    b.add(named("linear_forward" + layout, s), cost, [&b, m, n, k, weight, out_in] {
      return [&b, x = b.random({m, k}), w = b.random(weight), bias = b.random({n}), y = b.random({m, n}), out_in] {
        matmul(b.context(), x, w, y, {.transpose_b = out_in, .bias = bias});
      };
    });
    b.add(named("linear_input_gradient" + layout, s), cost, [&b, m, n, k, weight, out_in] {
      return [&b, d_y = b.random({m, n}), w = b.random(weight), d_x = b.random({m, k}), out_in] {
        matmul(b.context(), d_y, w, d_x, {.transpose_b = !out_in});
      };
    });
    b.add(named("linear_weight_gradient" + layout, s), cost, [&b, m, n, k, weight, out_in] {
      return [&b, d_y = b.random({m, n}), x = b.random({m, k}), d_w = b.zeros(weight), out_in] {
        matmul(b.context(), out_in ? d_y : x, out_in ? x : d_y, d_w, {.transpose_a = true, .accumulate = true});
      };
    });
  }
}

/// One row times a matrix, as in decoding: bound by reading the matrix, of which there are more than caches hold.
void add_linear_decode(Bench& b, const ModelShape& s) {
  for (const bool wide : {true, false})
    for (const bool out_in : {false, true}) {
      const int64_t k = wide ? s.width : 4 * s.width, n = wide ? 4 * s.width : s.width;
      const std::string layout = std::string(wide ? "_wide" : "_narrow") + (out_in ? "[out,in]" : "[in,out]");
      b.add(named("linear_decode" + layout, s), {0.0, b.bytes(k * n)}, [&b, n, k, out_in] {
        const int64_t matrices = (int64_t{128} << 20) / static_cast<int64_t>(b.bytes(k * n));
        return [&b, x = b.random({1, k}), w = b.random({matrices * n, k}), y = b.random({1, n}), out_in, n, k, matrices,
                next = int64_t{0}]() mutable {
          const Shape shape = out_in ? Shape{n, k} : Shape{k, n};
          matmul(b.context(), x, w.slice(next++ % matrices * n * k, shape), y, {.transpose_b = out_in});
        };
      });
    }
}

/// The memory of one attention on packed queries, keys and values.
struct Attention {
  Attention(Bench& b, const ModelShape& s, int64_t key_heads) {
    shape.batch = s.batch;
    shape.query_tokens = shape.key_tokens = s.tokens;
    shape.heads = s.heads;
    shape.key_heads = key_heads;
    shape.head_dim = s.head_dim();
    shape.dtype = b.type();
    shape.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim()));
    const int64_t row = (s.heads + 2 * key_heads) * s.head_dim();
    qkv = b.random({s.batch, s.tokens, row});
    d_qkv = b.random({s.batch, s.tokens, row});
    out = b.random({s.batch, s.tokens, s.width});
    d_out = b.random({s.batch, s.tokens, s.width});
    log_sum_exp = b.zeros({s.batch, s.heads, s.tokens});
  }
  HeadsView part(const Tensor& packed, int64_t which) const {
    const int64_t column = which == 0 ? 0 : (shape.heads + (which - 1) * shape.kv_heads()) * shape.head_dim;
    const int64_t row = packed.shape()[2];
    return {packed.slice(column, {1}).raw(), packed.shape()[1] * row, row, shape.head_dim};
  }
  void forward(const Context& context) const {
    attention_forward(context, shape, part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out, log_sum_exp);
  }
  void backward(const Context& context) const {
    attention_backward(context, shape, part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out, log_sum_exp, d_out,
                       part(d_qkv, 0), part(d_qkv, 1), part(d_qkv, 2));
  }

  AttentionShape shape;
  Tensor qkv, d_qkv, out, d_out, log_sum_exp;
};

void add_attention(Bench& b, const ModelShape& s) {
  const auto both = [&b, &s](const std::string& kind, double pairs, const std::function<Attention()>& make) {
    const double flops = 4.0 * static_cast<double>(s.batch * s.width) * pairs;
    b.add(named("attention_forward_" + kind, s), {flops, 0.0},
          [&b, make] { return [&b, a = make()] { a.forward(b.context()); }; });
    b.add(named("attention_backward_" + kind, s), {2.5 * flops, 0.0}, [&b, make]() -> std::function<void()> {
      const Attention a = make();
      a.forward(b.context());
      return [&b, a] { a.backward(b.context()); };
    });
  };
  const auto tokens = static_cast<double>(s.tokens);
  const double causal = tokens * (tokens + 1.0) / 2.0;
  both("causal", causal, [&b, s] { return Attention(b, s, s.heads); });
  both("grouped", causal, [&b, s] { return Attention(b, s, s.heads / 4); });
  both("bidirectional", tokens * tokens, [&b, s] {
    Attention a(b, s, s.heads);
    a.shape.causal = false;
    return a;
  });
  const int64_t window = s.tokens / 8;
  const auto in_window = static_cast<double>(window);
  both("window_eighth", in_window * tokens - in_window * (in_window - 1.0) / 2.0, [&b, s, window] {
    Attention a(b, s, s.heads);
    a.shape.window = window;
    return a;
  });
  both("documents_of_an_eighth", 8.0 * in_window * (in_window + 1.0) / 2.0, [&b, s, window] {
    Attention a(b, s, s.heads);
    a.shape.first_key = b.integers({s.batch, s.tokens}, [=](int64_t i) { return i % s.tokens / window * window; });
    return a;
  });
  // One query over a cache, as in generation.
  for (const int64_t keys : {s.tokens, 8 * s.tokens}) {
    for (const int64_t group : {1, 4}) {
      const int64_t key_heads = s.heads / group;
      const std::string name = "attention_decode_" + std::to_string(keys) + (group == 1 ? "" : "_grouped");
      b.add(named(name, s), {0.0, b.bytes(2 * s.batch * keys * key_heads * s.head_dim())}, [&b, s, keys, key_heads] {
        AttentionShape shape;
        shape.batch = s.batch;
        shape.query_tokens = 1;
        shape.key_tokens = keys;
        shape.heads = s.heads;
        shape.key_heads = key_heads;
        shape.head_dim = s.head_dim();
        shape.dtype = b.type();
        const int64_t width = key_heads * s.head_dim();
        return [&b, shape, width, q = b.random({s.batch, 1, s.width}), k = b.random({s.batch, keys, width}),
                v = b.random({s.batch, keys, width}), out = b.random({s.batch, 1, s.width})] {
          const auto view = [&](const Tensor& t) {
            return HeadsView{t.raw(), t.shape()[1] * t.shape()[2], t.shape()[2], shape.head_dim};
          };
          attention_forward(b.context(), shape, view(q), view(k), view(v), {}, out, Tensor());
        };
      });
    }
  }
}

void add_norms(Bench& b, const ModelShape& s) {
  const Shape shape{s.batch, s.tokens, s.width};
  const double pass = b.bytes(shape.elements());
  b.add(named("residual_layer_norm_forward", s), {0.0, 4.0 * pass}, [&b, shape, s] {
    return [&b, x = b.random(shape), branch = b.random(shape), g = b.random({s.width}), beta = b.random({s.width}),
            sum = b.random(shape), y = b.random(shape), mean = b.zeros({s.rows()}), rstd = b.zeros({s.rows()})] {
      residual_layer_norm_forward(b.context(), x, branch, {}, g, beta, 1e-5f, sum, y, mean, rstd);
    };
  });
  b.add(named("residual_layer_norm_backward", s), {0.0, 4.0 * pass}, [&b, shape, s] {
    return [&b, x = b.random(shape), g = b.random({s.width}), mean = b.zeros({s.rows()}),
            rstd = b.random({s.rows()}, DType::kF32), d = b.random(shape), d_x = b.random(shape),
            d_g = b.zeros({s.width}), d_b = b.zeros({s.width})] {
      residual_layer_norm_backward(b.context(), x, g, mean, rstd, d, {}, false, d_x, Tensor(), d_g, d_b);
    };
  });
  b.add(named("residual_rms_norm_forward", s), {0.0, 4.0 * pass}, [&b, shape, s] {
    return [&b, x = b.random(shape), branch = b.random(shape), g = b.random({s.width}), sum = b.random(shape),
            y = b.random(shape), rstd = b.zeros({s.rows()})] {
      residual_rms_norm_forward(b.context(), x, branch, {}, g, 1e-5f, sum, y, rstd);
    };
  });
  b.add(named("residual_rms_norm_backward", s), {0.0, 4.0 * pass}, [&b, shape, s] {
    return [&b, x = b.random(shape), g = b.random({s.width}), rstd = b.random({s.rows()}, DType::kF32),
            d = b.random(shape), d_x = b.random(shape), d_g = b.zeros({s.width})] {
      residual_rms_norm_backward(b.context(), x, g, rstd, d, {}, false, d_x, Tensor(), d_g);
    };
  });
}

void add_rotary(Bench& b, const ModelShape& s) {
  const Shape packed{s.batch, s.tokens, 3 * s.width};
  const double turned = 2.0 * b.bytes(2 * s.rows() * s.width);
  const auto make = [&b, s](bool norm) {
    Rotary rotary;
    rotary.query_heads = rotary.key_heads = s.heads;
    rotary.head_dim = s.head_dim();
    rotary.table = rotary_table(b.context(), s.tokens, s.head_dim(), 10000.0, {});
    if (norm) rotary.query_gamma = rotary.key_gamma = b.random({s.head_dim()});
    return rotary;
  };
  b.add(named("rotary_forward", s), {0.0, turned}, [&b, packed, make] {
    return [&b, r = make(false), x = b.random(packed)] { rotary_forward(b.context(), r, x, x, Tensor()); };
  });
  b.add(named("rotary_backward", s), {0.0, turned}, [&b, packed, make] {
    return [&b, r = make(false), d = b.random(packed)] {
      rotary_backward(b.context(), r, Tensor(), Tensor(), d, Tensor(), Tensor());
    };
  });
  const Shape heads{s.batch, s.tokens, 2 * s.width};
  b.add(named("norm_and_rotary_forward", s), {0.0, turned}, [&b, packed, heads, make, s] {
    return [&b, r = make(true), x = b.random(packed), y = b.random(heads), rstd = b.zeros({s.rows(), 2 * s.heads})] {
      rotary_forward(b.context(), r, x, y, rstd);
    };
  });
  b.add(named("norm_and_rotary_backward", s), {0.0, 1.5 * turned}, [&b, packed, make, s] {
    return [&b, r = make(true), x = b.random(packed), d = b.random(packed),
            rstd = b.random({s.rows(), 2 * s.heads}, DType::kF32), d_q = b.zeros({s.head_dim()}),
            d_k = b.zeros({s.head_dim()})] { rotary_backward(b.context(), r, x, rstd, d, d_q, d_k); };
  });
}

void add_activations(Bench& b, const ModelShape& s) {
  const int64_t rows = s.rows(), width = 8 * s.width / 3;
  const double pass = b.bytes(rows * width);
  b.add(named("swiglu_forward", s), {0.0, 3.0 * pass}, [&b, rows, width] {
    return [&b, x = b.random({rows, 2 * width}), y = b.random({rows, width})] {
      gated_activation_forward(b.context(), Activation::kSilu, x, y);
    };
  });
  b.add(named("swiglu_backward", s), {0.0, 5.0 * pass}, [&b, rows, width] {
    return [&b, x = b.random({rows, 2 * width}), d = b.random({rows, width}), d_x = b.random({rows, 2 * width})] {
      gated_activation_backward(b.context(), Activation::kSilu, x, d, d_x);
    };
  });
  const std::pair<const char*, Activation> kinds[] = {
      {"gelu", Activation::kGelu}, {"gelu_erf", Activation::kGeluErf}, {"relu_squared", Activation::kReluSquared}};
  for (const auto& [name, activation] : kinds) {
    const Shape shape{rows, 4 * s.width};
    const double elements = b.bytes(shape.elements());
    b.add(named(name + std::string("_forward"), s), {0.0, 2.0 * elements}, [&b, shape, activation = activation] {
      return [&b, x = b.random(shape), y = b.random(shape), activation] {
        activation_forward(b.context(), activation, x, y);
      };
    });
    b.add(named(name + std::string("_backward"), s), {0.0, 3.0 * elements}, [&b, shape, activation = activation] {
      return [&b, x = b.random(shape), d = b.random(shape), d_x = b.random(shape), activation] {
        activation_backward(b.context(), activation, x, d, d_x);
      };
    });
  }
}

void add_embedding(Bench& b, const ModelShape& s) {
  const auto tokens = [&b, s] {
    return b.integers({s.batch, s.tokens}, [&](int64_t i) { return i * i * 31 % s.vocabulary; });
  };
  const Shape shape{s.batch, s.tokens, s.width};
  b.add(named("embedding_forward", s), {0.0, 3.0 * b.bytes(shape.elements())}, [&b, s, shape, tokens] {
    return [&b, ids = tokens(), table = b.random({s.vocabulary, s.width}), positions = b.random({s.tokens, s.width}),
            out = b.random(shape)] { embedding_forward(b.context(), ids, table, positions, 0, {}, out); };
  });
  b.add(named("embedding_backward", s), {0.0, 3.0 * b.bytes(shape.elements())}, [&b, s, shape, tokens] {
    return [&b, ids = tokens(), d = b.random(shape), d_table = b.zeros({s.vocabulary, s.width}),
            d_positions = b.zeros({s.tokens, s.width})] {
      embedding_backward(b.context(), ids, {}, d, d_table, d_positions);
    };
  });
}

void add_cross_entropy(Bench& b, const ModelShape& s) {
  struct Case {
    const char* name;
    CrossEntropyOptions options;
    int64_t every;  // of how many rows one counts
  };
  const Case cases[] = {{"cross_entropy", {}, 1},
                        {"cross_entropy_all_terms", {.soft_cap = 30.0f, .z_loss = 1e-4f, .label_smoothing = 0.1f}, 1},
                        {"cross_entropy_tenth_counts", {}, 10},
                        {"cross_entropy_tenth_counts_skipping", {.skip_ignored = true}, 10}};
  for (const Case& c : cases) {
    const double flops = 6.0 * static_cast<double>(s.rows() * s.width * s.vocabulary);
    b.add(named(c.name, s), {flops, 0.0}, [&b, s, c] {
      return [&b, s, options = c.options, hidden = b.random({s.rows(), s.width}),
              weight = b.random({s.vocabulary, s.width}), d_hidden = b.random({s.rows(), s.width}),
              d_weight = b.zeros({s.vocabulary, s.width}), targets = b.integers({s.rows()}, [&](int64_t i) {
                return i % c.every == 0 ? i * 31 % s.vocabulary : kIgnoreIndex;
              })] {
        linear_cross_entropy(b.context(), hidden, weight, targets, s.vocabulary, {}, d_hidden, d_weight, options);
      };
    });
  }
}

void add_reductions(Bench& b, const ModelShape& s) {
  b.add(named("column_sum", s), {0.0, b.bytes(s.rows() * 4 * s.width)}, [&b, s] {
    return [&b, x = b.random({s.rows(), 4 * s.width}), sums = b.zeros({4 * s.width})] {
      column_sum(b.context(), x, sums);
    };
  });
  const int64_t chunks = (12 * s.width * s.width + kChunkElements - 1) / kChunkElements;  // one block
  const int64_t elements = chunks * kChunkElements;
  const double f32 = 4.0 * static_cast<double>(elements);
  b.add(named("adamw_step", s), {0.0, 7.0 * f32 + b.bytes(elements)}, [&b, chunks, elements] {
    const std::vector<ChunkRule> rules(static_cast<size_t>(chunks), {.valid = kChunkElements, .weight_decay = 0.1f});
    return [&b, rules, master = b.random({elements}, DType::kF32), m = b.zeros({elements}), v = b.zeros({elements}),
            g = b.random({elements}, DType::kF32), working = b.random({elements})] {
      adamw_step(b.context(), {.learning_rate = 1e-4f}, rules, master, m, v, g, working);
    };
  });
  b.add(named("chunk_square_sums", s), {0.0, f32}, [&b, chunks, elements] {
    const std::vector<ChunkRule> rules(static_cast<size_t>(chunks), {.valid = kChunkElements});
    return [&b, rules, g = b.random({elements}, DType::kF32), sums = b.context().empty({chunks}, DType::kF64)] {
      chunk_square_sums(b.context(), rules, g, sums);
    };
  });
}

/// What the tape itself costs: functions that compute nothing, recorded over a planned arena as in a training step.
void add_tape(Bench& b) {
  constexpr int kEntries = 1000;
  const auto pass = [](const Context& context) {
    Tape tape(context);
    Variable x = tape.variable(context.empty({16}, DType::kF32), true);
    for (int entry = 0; entry < kEntries; ++entry) {
      const Variable y = tape.variable(context.empty({16}, DType::kF32), true);
      tape.record([context, saved = x.value, from = y.gradient, to = x.gradient] { to->add(context, from->take()); });
      x = y;
    }
    x.gradient->add(context, x.value);
    tape.backward();
  };
  b.add("tape, 1000 entries", {}, [&b, pass] {
    PlanningMemory planning;
    pass(Context(Device{.meta = true}, b.context().pool(), planning));
    const auto arena = std::make_shared<StaticArena>(plan_arena(planning.lifetimes()));
    return [&b, pass, arena] {
      arena->restart();
      pass(Context(Device{}, b.context().pool(), *arena));
    };
  });
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 1;
  DType type = DType::kF32;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--threads=")) {
      threads = std::max(1, std::atoi(argv[i] + std::string_view("--threads=").size()));
    } else if (argument == "--bf16") {
      type = DType::kBF16;
    } else {
      rest.push_back(argv[i]);
    }
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  Bench bench(threads, type);
  for (const ModelShape& shape : kModels) {
    add_linear(bench, shape);
    add_linear_decode(bench, shape);
    add_attention(bench, shape);
    add_norms(bench, shape);
    add_rotary(bench, shape);
    add_activations(bench, shape);
    add_embedding(bench, shape);
    add_cross_entropy(bench, shape);
    add_reductions(bench, shape);
  }
  add_tape(bench);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
