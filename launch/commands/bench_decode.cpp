// Writing text: how close decoding comes to reading the weights once a token.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/model/generator.h"
#include "core/model/names.h"
#include "core/train/engine.h"
#include "launch/commands/commands.h"
#include "launch/run_world.h"
#include "ops/base/error.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

struct DecodeOptions {
  std::string config;
  std::vector<std::string> overrides;
  int64_t rows = 1;
  int64_t tokens = 64;
  bool json = false;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Bytes per second of reading what fits no cache: 256 MiB, added up by columns. The best of 5 runs.
double measure_read_rate(const Context& context) {
  const Tensor x = context.empty({64 << 10, 1024}, DType::kF32);
  const Tensor sum = context.empty({1024}, DType::kF32);
  fill_zero(context, x);
  fill_zero(context, sum);
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 5; ++run) {
    const Clock::time_point start = Clock::now();
    column_sum(context, x, sum);
    best = std::min(best, seconds_since(start));
  }
  return static_cast<double>(x.bytes()) / best;
}

/// Of the tensors that a token needs whole: all but tables of which it reads a row.
double weight_bytes(const ParameterStore& store, const ModelConfig& model) {
  const TensorNames names = tensor_names(model);
  int64_t elements = 0;
  for (const ParameterInfo& tensor : store.tensors()) {
    const bool table = tensor.name == names.position_table + ".weight" ||
                       (!model.tied() && tensor.name == names.token_table + ".weight");
    if (!table) elements += tensor.elements();
  }
  return static_cast<double>(elements) * static_cast<double>(size_of(store.compute_type()));
}

void initialize(const Context& context, ParameterStore& store, const RunConfig& config) {
  store.allocate(context, compute_type(config));
  const Tensor chunk = context.empty({kChunkElements}, DType::kF32);
  for (int64_t i = 0; i < store.chunks(); ++i) {
    store.initial_values(config.seed(), i, i + 1, chunk.data<float>());
    convert(context, chunk, store.working().slice(i * kChunkElements, {kChunkElements}));
  }
}

int bench_decode(World& world, const DecodeOptions& options) {
  RunConfig config;
  load_config(options.config, options.overrides, config);
  if (config.model().vocabulary() == 0) {
    throw Error(ExitCode::kUsage, options.config + ": model.vocabulary is 0: there are no data here to take it from",
                "--set model.vocabulary=50257");
  }
  validate_run_of(options.config, config);
  const ModelConfig& model = config.model();
  if (model.bidirectional() || has_decoder(model)) {
    throw Error(ExitCode::kUsage, options.config + ": model.family: decoding is measured of causal models");
  }
  if (world.size() > 1) throw Error(ExitCode::kUsage, "bench decode runs on one rank: start it without mpirun");
  const int64_t prompt = model.context() / 2;
  const int64_t tokens = std::min(options.tokens, model.context() - prompt);
  HeapMemory memory;
  ThreadPool pool(world.threads(), world.cpus());
  const Context context(Device{}, pool, memory);
  ParameterStore store;
  const Transformer transformer(model, store);
  initialize(context, store, config);

  std::vector<GenerationRow> rows(static_cast<size_t>(options.rows));
  for (size_t row = 0; row < rows.size(); ++row) {
    rows[row].prompt.assign(static_cast<size_t>(prompt), static_cast<int32_t>(row % model.vocabulary()));
    rows[row].seed = row;
  }
  std::vector<double> seconds;
  Clock::time_point last;
  GenerationOptions how;
  how.count = tokens;
  how.on_token = [&](size_t row, int32_t /*token*/) {
    if (row != 0) return;
    if (!seconds.empty() || last != Clock::time_point()) seconds.push_back(seconds_since(last));
    last = Clock::now();
  };
  generate_rows(context, transformer, rows, how);
  if (seconds.empty()) throw Error(ExitCode::kUsage, "--tokens: at least two are needed to measure the time between");
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  const double median = seconds[seconds.size() / 2];

  const double weights = weight_bytes(store, model);
  const int64_t cached_tokens = options.rows * (prompt + tokens / 2);
  const int64_t token_elements = 2 * int64_t{model.layers()} * model.key_heads() * model.head_dim();
  const auto cached =
      static_cast<double>(cached_tokens * token_elements) * static_cast<double>(size_of(store.compute_type()));
  const double rate = measure_read_rate(context);
  const double floor = (weights + cached) / rate;
  const nlohmann::ordered_json result{{"tokens_per_second", static_cast<double>(options.rows) / median},
                                      {"seconds_per_token", median},
                                      {"texts", options.rows},
                                      {"weight_bytes", weights},
                                      {"cache_bytes", cached},
                                      {"read_bytes_per_second", rate},
                                      {"floor_seconds", floor},
                                      {"of_floor", median / floor},
                                      {"threads", world.threads()}};
  if (options.json) {
    std::cout << result.dump() << std::endl;
    return 0;
  }
  std::printf(
      "%.1f tokens/s of %d texts, %.2f ms a token; reading %.1f MB of weights and %.1f MB of keys and values at\n"
      "the %.1f GB/s of this machine would take %.2f ms: %.2f times the floor, on %d threads\n",
      static_cast<double>(options.rows) / median, static_cast<int>(options.rows), 1e3 * median, weights / 1e6,
      cached / 1e6, rate / 1e9, 1e3 * floor, median / floor, world.threads());
  return 0;
}

}  // namespace

void add_bench_decode(Command bench) {
  auto options = std::make_shared<DecodeOptions>();
  Command command = bench.subcommand(
      "decode", "Writing text with random weights: tokens/s beside the time that reading the weights takes");
  command.option("--config", options->config, "run configuration; its data are not read").required();
  command.option("--set", options->overrides, "change a field: numerics.compute=BF16").take_all();
  command.option("--rows", options->rows, "texts at once").show_default().range(1, 65536);
  command.option("--tokens", options->tokens, "to measure, behind half of the context")
      .show_default()
      .range(2, 1000000);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] {
    return run_in_world(world_options(options->config, options->overrides),
                        [&](World& joined) { return bench_decode(joined, *options); });
  });
}

}  // namespace tsugi
