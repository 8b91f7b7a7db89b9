// Copies (the ceiling of what is bound by memory), embedding, cross-entropy and the optimizer.
#include <algorithm>

#include "benchmarks/kernels/cases.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/runtime.h"
#include "ops/embedding/embedding_cuda.h"
#include "ops/optimizer_step/optimizer_step_cuda.h"

namespace tsugi::benchmarks {
namespace {

constexpr DType kType = DType::kBF16;

void copy(Maker& maker, int64_t bytes) {
  const void* const from = maker.random(bytes / 2, kType);
  void* const to = maker.empty(bytes / 2, kType);
  maker.work.run = [=](cuda::Stream& stream) { stream.copy(to, from, static_cast<size_t>(bytes)); };
  maker.result(to, bytes / 2, kType);
}

void copy_host(Maker& maker, int64_t bytes, bool to_device) {
  const auto host = std::make_shared<cuda::HostBuffer>(static_cast<size_t>(bytes));
  void* const device = maker.random(bytes / 2, kType);
  const auto download = [=](cuda::Stream& stream) { stream.copy(host->data(), device, static_cast<size_t>(bytes)); };
  maker.work.run = download;
  if (!to_device) return;
  maker.work.reset = download;
  maker.work.run = [=](cuda::Stream& stream) { stream.copy(device, host->data(), static_cast<size_t>(bytes)); };
}

void embedding_forward(Maker& maker, const cuda::EmbeddingShape& shape) {
  const int32_t* const tokens = maker.integers(shape.count(), shape.vocabulary);
  const void* const table = maker.random(shape.vocabulary * shape.width, kType);
  const void* const positions = maker.random(shape.tokens * shape.width, kType);
  void* const out = maker.empty(shape.count() * shape.width, kType);
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::embedding_forward(stream, shape, tokens, table, positions, {}, out);
  };
  maker.result(out, shape.count() * shape.width, kType);
}

void embedding_backward(Maker& maker, const cuda::EmbeddingShape& shape) {
  const int32_t* const tokens = maker.integers(shape.count(), shape.vocabulary);
  const void* const d_out = maker.random(shape.count() * shape.width, kType);
  const int64_t table = shape.vocabulary * shape.width, positions = shape.tokens * shape.width;
  auto* const d_table = static_cast<float*>(maker.zeros(table, DType::kF32));
  auto* const d_positions = static_cast<float*>(maker.zeros(positions, DType::kF32));
  const auto scratch_floats = static_cast<int64_t>(cuda::embedding_scratch_bytes(shape) / sizeof(float));
  void* const scratch = maker.empty(scratch_floats, DType::kF32);
  maker.work.reset = [=](cuda::Stream& stream) {
    stream.fill(d_table, 0, static_cast<size_t>(table) * sizeof(float));
    stream.fill(d_positions, 0, static_cast<size_t>(positions) * sizeof(float));
  };
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::embedding_backward(stream, shape, tokens, {}, d_out, scratch, d_table, d_positions);
  };
  maker.result(d_table, table, DType::kF32);
  maker.result(d_positions, positions, DType::kF32);
}

void cross_entropy(Maker& maker, int64_t rows, int64_t vocabulary, int64_t columns) {
  const int64_t count = rows * columns;
  void* const logits = maker.empty(count, kType);
  const int32_t* const targets = maker.integers(rows, vocabulary);
  auto* const losses = static_cast<cuda::DeviceRowLoss*>(maker.empty(3 * rows, DType::kF32));
  // In place: without a new start the logits would be the gradients of gradients.
  const auto numbers = std::make_shared<Maker>(maker);
  maker.work.reset = [=](cuda::Stream& stream) { numbers->randomize(stream, logits, count, kType); };
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::softmax_cross_entropy(stream, kType, {}, true, logits, targets, rows, vocabulary, columns, losses);
  };
  maker.result(logits, count, kType);
  maker.result(losses, 3 * rows, DType::kF32);
}

void adamw(Maker& maker, int64_t chunks, bool update) {
  const int64_t count = chunks * cuda::kAdamWChunk;
  const auto* const step = maker.upload(std::vector<cuda::DeviceAdamWStep>{
      {.learning_rate = 1e-3, .correction1 = 0.5, .correction2_sqrt = 0.5f, .gradient_scale = 1.0f}});
  const auto* const rules = maker.upload(std::vector<cuda::DeviceChunkRule>(
      static_cast<size_t>(chunks), {.valid = cuda::kAdamWChunk, .weight_decay = 0.1f}));
  const auto* const gradient = static_cast<float*>(maker.random(count, DType::kF32));
  if (!update) {
    auto* const sums = static_cast<double*>(maker.empty(chunks, DType::kF64));
    maker.work.run = [=](cuda::Stream& stream) { cuda::chunk_square_sums(stream, rules, chunks, gradient, sums); };
    maker.result(sums, chunks, DType::kF64);
    return;
  }
  auto* const master = static_cast<float*>(maker.random(count, DType::kF32));
  auto* const exp_avg = static_cast<float*>(maker.zeros(count, DType::kF32));
  auto* const exp_avg_sq = static_cast<float*>(maker.zeros(count, DType::kF32));
  void* const working = maker.empty(count, kType);
  const auto numbers = std::make_shared<Maker>(maker);
  maker.work.reset = [=](cuda::Stream& stream) {
    numbers->randomize(stream, master, count, DType::kF32);
    stream.fill(exp_avg, 0, static_cast<size_t>(count) * sizeof(float));
    stream.fill(exp_avg_sq, 0, static_cast<size_t>(count) * sizeof(float));
  };
  maker.work.run = [=](cuda::Stream& stream) {
    cuda::adamw_step(stream, step, nullptr, rules, chunks, master, exp_avg, exp_avg_sq, gradient, kType, working);
  };
  maker.result(master, count, DType::kF32);
  maker.result(working, count, kType);
}

/// One rank, one micro-batch.
void decide(Maker& maker, int64_t chunks) {
  std::vector<double> numbers(static_cast<size_t>(4 + chunks), 1.0);
  std::vector<int32_t> places{0, 2};
  for (int64_t chunk = 0; chunk < chunks; ++chunk) places.push_back(static_cast<int32_t>(4 + chunk));
  const auto* const values = maker.upload(numbers);
  const auto* const at = maker.upload(places);
  auto* const decision = static_cast<StepDecision*>(maker.empty(sizeof(StepDecision) / sizeof(double), DType::kF64));
  maker.work.run = [=](cuda::Stream& stream) { cuda::decide_step(stream, values, at, 1, 1, chunks, 1.0, decision); };
  maker.result(decision, sizeof(StepDecision) / sizeof(double), DType::kF64);
}

}  // namespace

void add_parameter_cases(bool tiny, std::vector<Case>& cases) {
  const int64_t copied = tiny ? 4096 : int64_t{2} << 30, carried = tiny ? 4096 : int64_t{256} << 20;
  cases.push_back({"copy", {{"bytes", copied}}, 0.0, 2.0 * static_cast<double>(copied), false, [=](Maker& maker) {
                     copy(maker, copied);
                   }});
  for (const bool to_device : {true, false}) {
    cases.push_back({to_device ? "copy_to_device" : "copy_to_host",
                     {{"bytes", carried}},
                     0.0,
                     static_cast<double>(carried),
                     false,
                     [=](Maker& maker) { copy_host(maker, carried, to_device); }});
  }

  const cuda::EmbeddingShape shape =
      tiny ? cuda::EmbeddingShape{kType, 2, 10, 16, 30} : cuda::EmbeddingShape{kType, 64, 1024, 768, 50304};
  const auto elements = static_cast<double>(shape.count() * shape.width);
  const auto position_elements = static_cast<double>(shape.tokens * shape.width);
  const Shape sizes{
      {"batch", shape.batch}, {"tokens", shape.tokens}, {"width", shape.width}, {"vocabulary", shape.vocabulary}};
  cases.push_back({"embedding_forward", sizes, 0.0, 4.0 * elements + 2.0 * position_elements, false,
                   [=](Maker& maker) { embedding_forward(maker, shape); }});
  // At most one row of the table per token is read and written.
  const double rows_hit = static_cast<double>(std::min(shape.count(), shape.vocabulary) * shape.width);
  cases.push_back({"embedding_backward", sizes, 0.0, 2.0 * elements + 8.0 * (rows_hit + position_elements), false,
                   [=](Maker& maker) { embedding_backward(maker, shape); }});

  const int64_t rows = tiny ? 5 : 8192, vocabulary = tiny ? 37 : 50257, columns = tiny ? 40 : 50304;
  cases.push_back({"cross_entropy",
                   {{"rows", rows}, {"vocabulary", vocabulary}, {"columns", columns}},
                   0.0,
                   4.0 * static_cast<double>(rows * columns),
                   false,
                   [=](Maker& maker) { cross_entropy(maker, rows, vocabulary, columns); }});

  const int64_t chunks = tiny ? 2 : 124475392 / cuda::kAdamWChunk;  // GPT-2 124M
  const auto parameters = static_cast<double>(chunks * cuda::kAdamWChunk);
  const Shape state{{"parameters", chunks * cuda::kAdamWChunk}};
  // Master and moments are read and written, the gradient read, the bf16 copy written.
  cases.push_back({"adamw", state, 0.0, 30.0 * parameters, false, [=](Maker& maker) { adamw(maker, chunks, true); }});
  cases.push_back(
      {"gradient_norm", state, 0.0, 4.0 * parameters, false, [=](Maker& maker) { adamw(maker, chunks, false); }});
  cases.push_back({"decide_step", state, 0.0, 12.0 * static_cast<double>(chunks), false,
                   [=](Maker& maker) { decide(maker, chunks); }});
}

std::vector<Case> all_cases(bool tiny) {
  std::vector<Case> cases;
  add_parameter_cases(tiny, cases);
  add_product_cases(tiny, cases);
  add_attention_cases(tiny, cases);
  add_row_cases(tiny, cases);
  add_objective_cases(tiny, cases);
  return cases;
}

}  // namespace tsugi::benchmarks
