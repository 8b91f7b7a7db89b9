#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/config/config.h"
#include "core/scaling/flops.h"
#include "core/scaling/machine_rate.h"
#include "core/train/engine.h"
#include "core/train/product_choice.h"
#include "launch/commands/commands.h"
#include "launch/device.h"
#include "launch/planned_lm.h"
#include "launch/program_memory.h"
#include "launch/run_world.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

struct BenchOptions {
  std::string config;
  std::vector<std::string> overrides;
  int steps = 20;
  int warm_up = 3;
  bool profile = false;
  bool json = false;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Bytes per second, read and written, of a sum that fits no cache: a += b over 256 MiB each.
double measure_bandwidth(const Context& context) {
  const Tensor a = context.empty({64 << 20}, DType::kF32);
  const Tensor b = context.empty({64 << 20}, DType::kF32);
  fill_zero(context, a);
  fill_zero(context, b);
  synchronize(context);
  double best = 1e30;
  for (int run = 0; run < 5; ++run) {
    const double start = now();
    add_in_place(context, a, b);
    synchronize(context);
    best = std::min(best, now() - start);
  }
  return 3.0 * static_cast<double>(a.bytes()) / best;
}

struct Roof {
  double flops;  ///< per second
  double bytes;  ///< per second

  double seconds(const Profile::Row& row) const { return std::max(row.flops / flops, row.bytes / bytes); }
};

nlohmann::ordered_json table(const std::map<std::string, Profile::Row>& operators, const Roof& roof,
                             double step_seconds, int steps) {
  std::vector<std::pair<std::string, Profile::Row>> rows(operators.begin(), operators.end());
  std::ranges::sort(rows, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  auto json = nlohmann::ordered_json::array();
  double rest = step_seconds;
  for (const auto& [name, row] : rows) {
    rest -= row.seconds / steps;
    json.push_back({{"operator", name},
                    {"calls", static_cast<double>(row.calls) / steps},
                    {"seconds", row.seconds / steps},
                    {"share", row.seconds / steps / step_seconds},
                    {"flops_per_second", row.flops / row.seconds},
                    {"bytes_per_second", row.bytes / row.seconds},
                    {"of_roof", roof.seconds(row) / row.seconds}});
  }
  json.push_back({{"operator", "outside of operators"}, {"seconds", rest}, {"share", rest / step_seconds}});
  return json;
}

void print(const nlohmann::ordered_json& result) {
  std::printf("%.0f tokens/s, %.2f ms a step (median of %d; MFU %.1f %% PaLM, %.1f %% causal)\n",
              result["tokens_per_second"].get<double>(), 1e3 * result["seconds_per_step"].get<double>(),
              result["steps"].get<int>(), 100 * result["mfu_palm"].get<double>(),
              100 * result["mfu_causal"].get<double>());
  std::printf("products of large matrices %.1f GFLOP/s, memory %.1f GB/s, on %d ranks of %d threads, %s\n",
              result["matmul_flops_per_second"].get<double>() / 1e9,
              result["memory_bytes_per_second"].get<double>() / 1e9, result["ranks"].get<int>(),
              result["threads"].get<int>(), result["device"].get<std::string>().c_str());
  std::printf("memory of this rank: planned %.1f MiB, the program %.1f MiB, the whole process at its peak %.1f MiB\n",
              result["planned_bytes"].get<double>() / (1 << 20),
              result["program_resident_bytes"].get<double>() / (1 << 20),
              result["peak_resident_bytes"].get<double>() / (1 << 20));
  if (!result.contains("profile")) return;
  std::printf("\n%-26s %8s %10s %7s %9s %8s %8s\n", "operator, rank 0", "calls", "ms a step", "share", "GFLOP/s",
              "GB/s", "of roof");
  for (const auto& row : result["profile"]) {
    std::printf("%-26s", row["operator"].get<std::string>().c_str());
    if (row.contains("calls")) {
      std::printf(" %8.0f %10.3f %6.1f%% %9.1f %8.1f %7.0f%%\n", row["calls"].get<double>(),
                  1e3 * row["seconds"].get<double>(), 100 * row["share"].get<double>(),
                  row["flops_per_second"].get<double>() / 1e9, row["bytes_per_second"].get<double>() / 1e9,
                  100 * row["of_roof"].get<double>());
    } else {
      std::printf(" %8s %10.3f %6.1f%%\n", "", 1e3 * row["seconds"].get<double>(), 100 * row["share"].get<double>());
    }
  }
}

/// What is not finite is not updated either: its time is not that of a step.
void require_finite(const StepReport& report, int64_t step) {
  if (report.finite) return;
  std::ostringstream message;
  message << "step " << step << " on random tokens is not finite: loss " << report.loss << ", gradient norm "
          << report.gradient_norm;
  throw Error(ExitCode::kDiverged, message.str(), "a run of this configuration would end so, too").mark_on_all_ranks();
}

int bench_step(World& world, const BenchOptions& options) {
  Communicator& communicator = world.communicator();
  RunConfig config;
  on_all_ranks(communicator, [&] {
    load_config(options.config, options.overrides, config);
    if (config.model().vocabulary() == 0) {
      throw Error(ExitCode::kUsage, options.config + ": model.vocabulary is 0: there are no data here to take it from",
                  "--set model.vocabulary=50257");
    }
    validate_run_of(options.config, config);
  });
  ChosenDevice chosen = choose_device(config.compute(), world);
  connect_devices(chosen, config.compute(), world, config.dist().timeout_seconds());
  ThreadPool pool(world.threads(), world.cpus());
  RandomTokensLm objective(config);
  const int64_t program = measure_program_bytes(pool, config);
  Engine engine(pool, communicator, config, objective, {}, chosen.device(), chosen.communicator.get());
  if (chosen.operators != nullptr) choose_products(communicator, *chosen.operators, config.compute(), {}, "");
  StepReport report;
  const auto step = [&](int64_t index) {
    const double start = now();
    report = engine.step(index + 1, static_cast<uint64_t>(index * engine.samples_per_step()), 1e-5f);
    const double seconds = now() - start;
    require_finite(report, index + 1);
    return seconds;
  };
  for (int i = 0; i < options.warm_up; ++i) step(i);
  const int64_t peak = resident_bytes("VmHWM:");
  std::optional<Profile> profile;
  if (options.profile) profile.emplace(chosen.operators.get());
  std::vector<double> seconds;
  for (int i = 0; i < options.steps; ++i) seconds.push_back(step(options.warm_up + i));
  double all = 0.0;
  for (const double one : seconds) all += one;
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<int64_t>(seconds.size() / 2));
  const double median = seconds[seconds.size() / 2];
  const std::map<std::string, Profile::Row> operators =
      profile ? profile->rows() : std::map<std::string, Profile::Row>();
  profile.reset();
  const Roof roof{measure_matmul_rate(engine.context(), engine.store().compute_type()),
                  measure_bandwidth(engine.context())};
  const double rate = all_reduce_sum(communicator, {roof.flops})[0];

  const double tokens_per_second = static_cast<double>(engine.samples_per_step() * objective.sequence()) / median;
  const FlopsPerToken flops = flops_per_token(config.model(), objective.sequence(), objective.scored_share());
  nlohmann::ordered_json result{{"tokens_per_second", tokens_per_second},
                                {"seconds_per_step", median},
                                {"steps", options.steps},
                                {"loss", report.loss},
                                {"mfu_palm", tokens_per_second * flops.palm / rate},
                                {"mfu_causal", tokens_per_second * flops.causal / rate},
                                {"flops_per_token", {{"palm", flops.palm}, {"causal", flops.causal}}},
                                {"matmul_flops_per_second", rate},
                                {"memory_bytes_per_second", roof.bytes},
                                {"ranks", world.size()},
                                {"threads", world.threads()},
                                {"device", chosen.description},
                                {"planned_bytes", engine.memory().on_device()},
                                {"program_resident_bytes", program},
                                {"peak_resident_bytes", peak}};
  if (options.profile) result["profile"] = table(operators, roof, all / options.steps, options.steps);
  if (world.rank() != 0) return 0;
  if (options.json) {
    std::cout << result.dump() << std::endl;
  } else {
    print(result);
  }
  return 0;
}

}  // namespace

void add_bench(Command app) {
  Command bench = app.subcommand("bench", "How fast it is here");
  bench.require_subcommand();
  auto options = std::make_shared<BenchOptions>();
  Command command = bench.subcommand(
      "step",
      "Training steps on random tokens: tokens/s, MFU, memory, and where the time goes; alone or on many ranks");
  command.option("--config", options->config, "run configuration; its data are not read").required();
  command.option("--set", options->overrides, "change a field: batch.micro_batch=8").take_all();
  command.option("--steps", options->steps, "to measure").show_default().range(1, 1000000);
  command.option("--warm-up", options->warm_up, "steps before").show_default().range(0, 1000000);
  command.flag("--profile", options->profile, "time, rate and share of the roof of each operator");
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] {
    return run_in_world(world_options(options->config, options->overrides),
                        [&](World& joined) { return bench_step(joined, *options); });
  });
  add_bench_decode(bench);
}

}  // namespace tsugi
