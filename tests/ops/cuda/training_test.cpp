// A GPT of two layers that trains on CUDA, with and without a graph, beside the same model on the CPU.
//
// The model is written once over Backend. On CUDA the gradients of weights run on a stream of their own, ordered by
// events alone, so that a missing event shows.
#include <array>
#include <cmath>

#include "ops/activation/activation.h"
#include "ops/activation/activation_cuda.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/gemm.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_cuda.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/norm/norm_cuda.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"
#include "ops/reduce/reduce.h"
#include "ops/reduce/reduce_cuda.h"
#include "tests/ops/cuda/operators.h"

namespace tsugi::testing {
namespace {

constexpr int64_t kBatch = 2, kTokens = 24, kHeads = 2, kHeadDim = 16, kWidth = kHeads * kHeadDim, kVocabulary = 40;
constexpr int64_t kRows = kBatch * kTokens;
constexpr int kLayers = 2;
constexpr int64_t kChunk = kChunkElements;
constexpr float kTrainingEpsilon = 1e-5f;

/// Parameters lie in chunks, one after the other.
struct Parameter {
  Shape shape;
  double scale;  ///< of its initial values; 0: ones
};
enum Name { kTokenTable, kPositions, kFirstOfLayers };
enum LayerName {
  kNorm1,
  kNorm1Bias,
  kQkv,
  kQkvBias,
  kOut,
  kOutBias,
  kNorm2,
  kNorm2Bias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
  kPerLayer
};
constexpr int kLastNorm = kFirstOfLayers + kLayers * kPerLayer;

std::vector<Parameter> parameters() {
  std::vector<Parameter> all{{{kVocabulary, kWidth}, 0.3}, {{kTokens, kWidth}, 0.3}};
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const auto& p : {Parameter{{kWidth}, 0},
                          {{kWidth}, 0.1},
                          {{kWidth, 3 * kWidth}, 0.2},
                          {{3 * kWidth}, 0.1},
                          {{kWidth, kWidth}, 0.2},
                          {{kWidth}, 0.1},
                          {{kWidth}, 0},
                          {{kWidth}, 0.1},
                          {{kWidth, 4 * kWidth}, 0.2},
                          {{4 * kWidth}, 0.1},
                          {{4 * kWidth, kWidth}, 0.1},
                          {{kWidth}, 0.1}}) {
      all.push_back(p);
    }
  }
  all.push_back({{kWidth}, 0});
  all.push_back({{kWidth}, 0.1});
  return all;
}

/// The operators of a step on one device. Weight gradients (f32) are added to.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Tensor make(Shape shape, DType type) = 0;
  virtual void embed(const Tensor& table, const Tensor& positions, const Tensor& out) = 0;
  virtual void embed_backward(const Tensor& d_out, const Tensor& d_table, const Tensor& d_positions) = 0;
  virtual void norm(const Tensor& x, const Tensor& branch, const Tensor& gamma, const Tensor& beta,
                    const Tensor& residual, const Tensor& normed, const Tensor& mean, const Tensor& rstd) = 0;
  virtual void norm_backward(const Tensor& residual, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                             const Tensor& d_normed, bool has_d_residual, const Tensor& d_residual,
                             const Tensor& d_gamma, const Tensor& d_beta) = 0;
  virtual void product(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulOptions& options) = 0;
  /// d_weight += aᵀ·d_out and d_bias += Σ rows of d_out. May run beside what follows.
  virtual void weight_gradients(const Tensor& a, const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias) = 0;
  virtual void gelu_backward(const Tensor& pre, const Tensor& d) = 0;
  virtual void attend(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp) = 0;
  virtual void attend_backward(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp, const Tensor& d_out,
                               const Tensor& d_qkv) = 0;
  /// Gradients of the sum of the losses; d_table is added to.
  virtual void cross_entropy(const Tensor& hidden, const Tensor& table, const Tensor& d_hidden,
                             const Tensor& d_table) = 0;
};

/// Activations, gradients and the two passes.
class Model {
 public:
  Model(Backend& backend, DType type, const Tensor& working, const Tensor& gradient) : b_(backend) {
    int64_t chunk = 0;
    for (const Parameter& p : parameters()) {
      weights_.push_back(working.slice(chunk * kChunk, p.shape));
      gradients_.push_back(gradient.slice(chunk * kChunk, p.shape));
      chunk += (p.shape.elements() + kChunk - 1) / kChunk;
    }
    const auto make = [&](int64_t width) { return b_.make({kBatch, kTokens, width}, type); };
    const auto statistic = [&] { return b_.make({kRows}, DType::kF32); };
    x_ = make(kWidth);
    for (size_t i = 0; i < kLayers; ++i) {
      Layer& l = layers_[i];
      for (Tensor* t : {&l.normed1, &l.attended, &l.projected, &l.residual2, &l.normed2, &l.down, &l.d_attended}) {
        *t = make(kWidth);
      }
      for (Tensor* t : {&l.pre, &l.up, &l.d_up}) *t = make(4 * kWidth);
      for (Tensor* t : {&l.qkv, &l.d_qkv}) *t = make(3 * kWidth);
      for (Tensor* t : {&l.mean1, &l.rstd1, &l.mean2, &l.rstd2}) *t = statistic();
      l.residual1 = i == 0 ? x_ : make(kWidth);
      l.log_sum_exp = b_.make({kBatch, kHeads, kTokens}, DType::kF32);
    }
    for (Tensor* t : {&residual_, &hidden_, &d_hidden_, &d_}) *t = make(kWidth);
    mean_ = statistic();
    rstd_ = statistic();
  }

  void run() {
    b_.embed(weights_[kTokenTable], weights_[kPositions], x_);
    Tensor x = x_, branch;
    for (int i = 0; i < kLayers; ++i) {
      const Layer& l = layers_[static_cast<size_t>(i)];
      b_.norm(x, branch, w(i, kNorm1), w(i, kNorm1Bias), l.residual1, l.normed1, l.mean1, l.rstd1);
      linear(l.normed1, w(i, kQkv), w(i, kQkvBias), l.qkv);
      b_.attend(l.qkv, l.attended, l.log_sum_exp);
      linear(l.attended, w(i, kOut), w(i, kOutBias), l.projected);
      b_.norm(l.residual1, l.projected, w(i, kNorm2), w(i, kNorm2Bias), l.residual2, l.normed2, l.mean2, l.rstd2);
      b_.product(rows(l.normed2), w(i, kUp), rows(l.up), {.bias = w(i, kUpBias), .pre_activation = rows(l.pre)});
      linear(l.up, w(i, kDown), w(i, kDownBias), l.down);
      x = l.residual2;
      branch = l.down;
    }
    b_.norm(x, branch, weights_[kLastNorm], weights_[kLastNorm + 1], residual_, hidden_, mean_, rstd_);
    b_.cross_entropy(rows(hidden_), weights_[kTokenTable], rows(d_hidden_), gradients_[kTokenTable]);

    b_.norm_backward(residual_, weights_[kLastNorm], mean_, rstd_, d_hidden_, false, d_, gradients_[kLastNorm],
                     gradients_[kLastNorm + 1]);
    for (int i = kLayers - 1; i >= 0; --i) {
      const Layer& l = layers_[static_cast<size_t>(i)];
      b_.weight_gradients(rows(l.up), rows(d_), g(i, kDown), g(i, kDownBias));
      b_.product(rows(d_), w(i, kDown), rows(l.d_up), {.transpose_b = true});
      b_.gelu_backward(l.pre, l.d_up);
      b_.weight_gradients(rows(l.normed2), rows(l.d_up), g(i, kUp), g(i, kUpBias));
      b_.product(rows(l.d_up), w(i, kUp), rows(d_hidden_), {.transpose_b = true});
      b_.norm_backward(l.residual2, w(i, kNorm2), l.mean2, l.rstd2, d_hidden_, true, d_, g(i, kNorm2),
                       g(i, kNorm2Bias));
      b_.weight_gradients(rows(l.attended), rows(d_), g(i, kOut), g(i, kOutBias));
      b_.product(rows(d_), w(i, kOut), rows(l.d_attended), {.transpose_b = true});
      b_.attend_backward(l.qkv, l.attended, l.log_sum_exp, l.d_attended, l.d_qkv);
      b_.weight_gradients(rows(l.normed1), rows(l.d_qkv), g(i, kQkv), g(i, kQkvBias));
      b_.product(rows(l.d_qkv), w(i, kQkv), rows(d_hidden_), {.transpose_b = true});
      b_.norm_backward(l.residual1, w(i, kNorm1), l.mean1, l.rstd1, d_hidden_, true, d_, g(i, kNorm1),
                       g(i, kNorm1Bias));
    }
    b_.embed_backward(d_, gradients_[kTokenTable], gradients_[kPositions]);
  }

 private:
  struct Layer {
    Tensor residual1, normed1, qkv, attended, projected, residual2, normed2, pre, up, down;
    Tensor mean1, rstd1, mean2, rstd2, log_sum_exp, d_qkv, d_up, d_attended;
  };
  static Tensor rows(const Tensor& x) { return x.reshape({kRows, x.shape()[-1]}); }
  static size_t at(int layer, int name) {
    return kFirstOfLayers + static_cast<size_t>(layer) * kPerLayer + static_cast<size_t>(name);
  }
  Tensor w(int layer, int name) const { return weights_[at(layer, name)]; }
  Tensor g(int layer, int name) const { return gradients_[at(layer, name)]; }
  void linear(const Tensor& a, const Tensor& weight, const Tensor& bias, const Tensor& out) {
    b_.product(rows(a), weight, rows(out), {.bias = bias});
  }

  Backend& b_;
  std::vector<Tensor> weights_, gradients_;
  std::array<Layer, kLayers> layers_;
  Tensor x_, residual_, hidden_, mean_, rstd_, d_hidden_, d_;  // d_: the gradient of the residual stream
};

struct Data {
  Data() {
    const RandomStream stream{5, 0, 0};
    for (int64_t i = 0; i < kRows; ++i) {
      tokens.push_back(static_cast<int32_t>(stream.word(static_cast<uint64_t>(i)) % kVocabulary));
      targets.push_back((tokens.back() * 7 + 3) % static_cast<int32_t>(kVocabulary));
    }
    targets[5] = kIgnoreIndex;
    uint64_t seed = 100;
    for (const Parameter& p : parameters()) {
      const int64_t chunks = (p.shape.elements() + kChunk - 1) / kChunk;
      for (int64_t c = 0; c < chunks; ++c) {
        const int64_t left = p.shape.elements() - c * kChunk;
        rules.push_back({.valid = static_cast<int32_t>(std::min(left, kChunk)), .weight_decay = 0.1f});
      }
      std::vector<double> values = random_values(chunks * kChunk, ++seed, p.scale);
      if (p.scale == 0.0) values.assign(values.size(), 1.0);
      initial.insert(initial.end(), values.begin(), values.end());
    }
  }
  AdamWStep step(int number) const {
    return {.learning_rate = 0.01f, .step = number, .gradient_scale = 1.0f / static_cast<float>(kRows - 1)};
  }
  std::vector<int32_t> tokens, targets;
  std::vector<ChunkRule> rules;
  std::vector<double> initial;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const Data& data) : c_(context_) {
    tokens_ = Tensor::view(const_cast<int32_t*>(data.tokens.data()), {kBatch, kTokens}, DType::kI32);
    targets_ = Tensor::view(const_cast<int32_t*>(data.targets.data()), {kRows}, DType::kI32);
  }
  const Context& context() const { return c_; }
  LossSum loss;

  Tensor make(Shape shape, DType type) override { return c_.empty(shape, type); }
  void embed(const Tensor& table, const Tensor& positions, const Tensor& out) override {
    embedding_forward(c_, tokens_, table, positions, 0, {}, out);
  }
  void embed_backward(const Tensor& d_out, const Tensor& d_table, const Tensor& d_positions) override {
    embedding_backward(c_, tokens_, {}, d_out, d_table, d_positions);
  }
  void norm(const Tensor& x, const Tensor& branch, const Tensor& gamma, const Tensor& beta, const Tensor& residual,
            const Tensor& normed, const Tensor& mean, const Tensor& rstd) override {
    residual_layer_norm_forward(c_, x, branch, {}, gamma, beta, kTrainingEpsilon, residual, normed, mean, rstd);
  }
  void norm_backward(const Tensor& residual, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& d_normed, bool has_d_residual, const Tensor& d_residual, const Tensor& d_gamma,
                     const Tensor& d_beta) override {
    residual_layer_norm_backward(c_, residual, gamma, mean, rstd, d_normed, {}, has_d_residual, d_residual, Tensor(),
                                 d_gamma, d_beta);
  }
  void product(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulOptions& options) override {
    matmul(c_, a, b, out, options);
  }
  void weight_gradients(const Tensor& a, const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias) override {
    matmul(c_, a, d_out, d_weight, {.transpose_a = true, .accumulate = true});
    column_sum(c_, d_out, d_bias);
  }
  void gelu_backward(const Tensor& pre, const Tensor& d) override {
    activation_backward(c_, Activation::kGelu, pre, d, d);
  }
  void attend(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp) override {
    attention_forward(c_, shape(qkv), part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out, log_sum_exp);
  }
  void attend_backward(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp, const Tensor& d_out,
                       const Tensor& d_qkv) override {
    attention_backward(c_, shape(qkv), part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out, log_sum_exp, d_out,
                       part(d_qkv, 0), part(d_qkv, 1), part(d_qkv, 2));
  }
  void cross_entropy(const Tensor& hidden, const Tensor& table, const Tensor& d_hidden,
                     const Tensor& d_table) override {
    loss = linear_cross_entropy(c_, hidden, table, targets_, kVocabulary, Tensor(), d_hidden, d_table);
  }

 private:
  static HeadsView part(const Tensor& qkv, int64_t index) {
    auto* data = static_cast<std::byte*>(qkv.raw()) + static_cast<size_t>(index * kWidth) * size_of(qkv.dtype());
    return {data, kTokens * 3 * kWidth, 3 * kWidth, kHeadDim};
  }
  static AttentionShape shape(const Tensor& qkv) {
    AttentionShape s;
    s.batch = kBatch;
    s.query_tokens = s.key_tokens = kTokens;
    s.heads = kHeads;
    s.head_dim = kHeadDim;
    s.dtype = qkv.dtype();
    s.scale = 0.25f;
    return s;
  }
  CpuContext context_;
  const Context& c_;
  Tensor tokens_, targets_;
};

/// bf16. Weight gradients run on a second stream. `forget` leaves out the wait of one of the streams for the other.
class CudaBackend : public Backend {
 public:
  enum class Forget { kNothing, kGradientReady, kGradientRead };
  CudaBackend(const Data& data, Forget forget) : forget_(forget), tokens_(data.tokens), targets_(data.targets) {
    logits_ = make({kRows, kVocabulary}, DType::kBF16);
    scratch_ = cuda::Buffer(1 << 20);
    side_scratch_ = cuda::Buffer(1 << 18);
  }
  cuda::Stream main, side;
  DeviceVector<cuda::DeviceLossSum> loss{1};

  Tensor make(Shape shape, DType type) override {
    buffers_.emplace_back(static_cast<size_t>(shape.elements()) * size_of(type));
    return Tensor::view(buffers_.back().data(), shape, type);
  }
  void embed(const Tensor& table, const Tensor& positions, const Tensor& out) override {
    cuda::embedding_forward(main, embedding(), tokens_.data(), table.raw(), positions.raw(), {}, out.raw());
  }
  void embed_backward(const Tensor& d_out, const Tensor& d_table, const Tensor& d_positions) override {
    cuda::embedding_backward(main, embedding(), tokens_.data(), {}, d_out.raw(), scratch_.data(), d_table.data<float>(),
                             d_positions.data<float>());
    main.wait(side_done_);  // the step ends on one stream
  }
  void norm(const Tensor& x, const Tensor& branch, const Tensor& gamma, const Tensor& beta, const Tensor& residual,
            const Tensor& normed, const Tensor& mean, const Tensor& rstd) override {
    cuda::residual_norm_forward(main, norm_shape(), x.raw(), branch.defined() ? branch.raw() : nullptr, {}, gamma.raw(),
                                beta.raw(), kTrainingEpsilon, residual.raw(), normed.raw(), mean.data<float>(),
                                rstd.data<float>());
  }
  void norm_backward(const Tensor& residual, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                     const Tensor& d_normed, bool has_d_residual, const Tensor& d_residual, const Tensor& d_gamma,
                     const Tensor& d_beta) override {
    // The other stream still reads what is overwritten here.
    if (forget_ != Forget::kGradientRead) main.wait(side_done_);
    cuda::residual_norm_backward(main, norm_shape(), residual.raw(), gamma.raw(), mean.data<float>(),
                                 rstd.data<float>(), d_normed.raw(), {}, has_d_residual, d_residual.raw(), nullptr,
                                 scratch_.as<float>(), d_gamma.data<float>(), d_beta.data<float>());
  }
  void product(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulOptions& o) override {
    const auto raw = [](const Tensor& t) { return t.defined() ? t.raw() : nullptr; };
    cuda::gemm(main, {.m = out.shape()[0],
                      .n = out.shape()[1],
                      .k = a.shape()[1],
                      .out_type = out.dtype(),
                      .transpose_b = o.transpose_b,
                      .a = a.raw(),
                      .b = b.raw(),
                      .bias = raw(o.bias),
                      .pre_activation = raw(o.pre_activation),
                      .out = out.raw()});
  }
  void weight_gradients(const Tensor& a, const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias) override {
    main.record(ready_);
    if (forget_ != Forget::kGradientReady) side.wait(ready_);
    add_product(side, a, d_out, d_weight);
    cuda::column_sum(side, DType::kBF16, d_out.raw(), kRows, d_out.shape()[1], side_scratch_.as<float>(),
                     d_bias.data<float>());
    side.record(side_done_);
  }
  void gelu_backward(const Tensor& pre, const Tensor& d) override {
    cuda::activation_backward(main, Activation::kGelu, DType::kBF16, pre.raw(), d.raw(), d.raw(), d.elements());
  }
  void attend(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp) override {
    cuda::attention_forward(main, attention(), part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out.data<bf16>(),
                            log_sum_exp.data<float>());
  }
  void attend_backward(const Tensor& qkv, const Tensor& out, const Tensor& log_sum_exp, const Tensor& d_out,
                       const Tensor& d_qkv) override {
    cuda::attention_backward(main, attention(), part(qkv, 0), part(qkv, 1), part(qkv, 2), {}, out.data<bf16>(),
                             log_sum_exp.data<float>(), d_out.data<bf16>(), scratch_.data(), part(d_qkv, 0),
                             part(d_qkv, 1), part(d_qkv, 2));
  }
  void cross_entropy(const Tensor& hidden, const Tensor& table, const Tensor& d_hidden,
                     const Tensor& d_table) override {
    product(hidden, table, logits_, {.transpose_b = true});
    cuda::softmax_cross_entropy(main, DType::kBF16, {}, true, logits_.raw(), targets_.data(), kRows, kVocabulary,
                                kVocabulary, losses_.data());
    cuda::add_losses(main, losses_.data(), targets_.data(), kRows, loss.data(), nullptr);
    product(logits_, table, d_hidden, {});
    add_product(main, logits_, hidden, d_table);
  }

 private:
  static cuda::EmbeddingShape embedding() { return {DType::kBF16, kBatch, kTokens, kWidth, kVocabulary}; }
  static cuda::NormShape norm_shape() { return {DType::kBF16, kBatch, kTokens, kWidth}; }
  static cuda::DeviceAttentionShape attention() {
    return {.batch = kBatch,
            .query_tokens = kTokens,
            .key_tokens = kTokens,
            .heads = kHeads,
            .key_heads = kHeads,
            .head_dim = kHeadDim,
            .scale = 0.25f};
  }
  static cuda::DeviceHeads part(const Tensor& qkv, int64_t index) {
    return {qkv.data<bf16>() + index * kWidth, kTokens * 3 * kWidth, 3 * kWidth, kHeadDim};
  }
  static void add_product(cuda::Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out) {
    cuda::gemm(stream, {.m = a.shape()[1],
                        .n = b.shape()[1],
                        .k = kRows,
                        .out_type = DType::kF32,
                        .transpose_a = true,
                        .accumulate = true,
                        .a = a.raw(),
                        .b = b.raw(),
                        .out = out.raw()});
  }
  Forget forget_;
  std::vector<cuda::Buffer> buffers_;
  DeviceVector<int32_t> tokens_, targets_;
  cuda::Buffer scratch_, side_scratch_;
  Tensor logits_;
  DeviceVector<cuda::DeviceRowLoss> losses_{kRows};
  cuda::Event ready_, side_done_;
};

constexpr int kSteps = 4;
using Losses = std::vector<double>;

Losses train_on_cpu(DType type) {
  const Data data;
  CpuBackend backend(data);
  const Context& context = backend.context();
  const auto elements = static_cast<int64_t>(data.initial.size());
  std::vector<double> initial = data.initial;
  const Tensor master = to_tensor(context, initial, {elements}, DType::kF32);
  const Tensor working = to_tensor(context, initial, {elements}, type);
  std::array<Tensor, 3> state;
  for (Tensor& t : state) {
    t = context.empty({elements}, DType::kF32);
    fill_zero(context, t);
  }
  const auto& [m, v, gradient] = state;
  Model model(backend, type, working, gradient);
  Losses losses;
  for (int step = 1; step <= kSteps; ++step) {
    fill_zero(context, gradient);
    model.run();
    losses.push_back(backend.loss.sum / static_cast<double>(backend.loss.count));
    adamw_step(context, data.step(step), data.rules, master, m, v, gradient, working);
  }
  return losses;
}

Losses train_on_cuda(bool with_graph, CudaBackend::Forget forget = CudaBackend::Forget::kNothing) {
  const Data data;
  CudaBackend backend(data, forget);
  std::vector<double> initial = data.initial;
  const DeviceArray master(initial, DType::kF32), working(initial, DType::kBF16);
  const auto elements = std::ssize(initial);
  std::vector<double> zeros(initial.size(), 0.0);
  const DeviceArray m(zeros, DType::kF32), v(zeros, DType::kF32), gradient(zeros, DType::kF32);
  std::vector<cuda::DeviceChunkRule> rules;
  for (const ChunkRule& rule : data.rules) rules.push_back({.valid = rule.valid, .weight_decay = rule.weight_decay});
  const DeviceVector<cuda::DeviceChunkRule> table(rules);
  const DeviceVector<cuda::DeviceAdamWStep> scalars(1);
  Model model(backend, DType::kBF16, Tensor::view(working.data(), {elements}, DType::kBF16),
              Tensor::view(gradient.data(), {elements}, DType::kF32));
  const auto issue = [&] {
    backend.main.fill(gradient.data(), 0, initial.size() * sizeof(float));
    backend.main.fill(backend.loss.data(), 0, sizeof(cuda::DeviceLossSum));
    model.run();
    cuda::adamw_step(backend.main, scalars.data(), nullptr, table.data(), std::ssize(rules), master.floats(),
                     m.floats(), v.floats(), gradient.floats(), DType::kBF16, working.data());
  };
  cuda::Graph graph;
  if (with_graph) {
    graph.begin_capture(backend.main);
    issue();
    graph.end_capture(backend.main);
  }
  Losses losses;
  for (int number = 1; number <= kSteps; ++number) {
    const AdamWStep step = data.step(number);
    const double beta1 = static_cast<double>(step.beta1), beta2 = static_cast<double>(step.beta2);
    const cuda::DeviceAdamWStep host{.learning_rate = static_cast<double>(step.learning_rate),
                                     .correction1 = 1.0 - std::pow(beta1, number),
                                     .beta1 = step.beta1,
                                     .beta2 = step.beta2,
                                     .epsilon = step.epsilon,
                                     .correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(beta2, number))),
                                     .gradient_scale = step.gradient_scale};
    backend.main.copy(scalars.data(), &host, sizeof(host));
    if (with_graph) {
      graph.launch(backend.main);
    } else {
      issue();
    }
    const cuda::DeviceLossSum sum = backend.loss.read(backend.main)[0];
    losses.push_back(sum.sum / static_cast<double>(sum.count));
  }
  return losses;
}

TEST(CudaTraining, EqualsTheCpuWithinTheBoundOfBf16) {
  const Losses exact = train_on_cpu(DType::kF32), plain = train_on_cpu(DType::kBF16), actual = train_on_cuda(false);
  EXPECT_LT(exact.back(), exact.front() - 0.3) << "it learns";
  expect_within_twice(actual, plain, exact, DType::kBF16);
}

TEST(CudaTraining, GraphsAndOrdersOfExecutionChangeNoBit) {
  const Losses first = train_on_cuda(false);
  const int last = on_emulator() ? 3 : 6;  // there it takes long
  for (int order = 2; order <= last; ++order) {
    use_order(order);
    EXPECT_EQ(train_on_cuda(false), first);
    EXPECT_EQ(train_on_cuda(true), first);
  }
  use_order(1);
}

TEST(SeededBugs, ATrainingStepWithoutAnEvent) {
  if (!on_emulator()) GTEST_SKIP() << "a device may wait where nobody asked it to";
  using Forget = CudaBackend::Forget;
  const Losses right = train_on_cuda(false);
  for (const Forget forget : {Forget::kGradientReady, Forget::kGradientRead}) {
    bool caught = false;
    for_seeds([&] { caught = caught || train_on_cuda(false, forget) != right; });
    EXPECT_TRUE(caught);
  }
  EXPECT_THAT(fault_of([] { train_on_cuda(true, Forget::kGradientReady); }), ::testing::HasSubstr("capture"));
}

}  // namespace
}  // namespace tsugi::testing
