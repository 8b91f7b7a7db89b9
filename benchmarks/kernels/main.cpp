// How fast is each kernel on this device, and does it give the same bits in every run?
//   benchmark_kernels [--tiny] [--kernel TEXT] [--repeats N] [--compared N] [--once] [--list] [--out FILE.jsonl]
// One JSON object per line and case, as it ends: kernel, shape, median time of a run with a cold cache, FLOPs, bytes,
// and the fraction of the ceiling: of the largest product's rate measured here, or of the copy's; whether --compared
// runs gave the same bits, and how far other kernels of attention are from MMA's result. Cases that FILE has are not
// run again; exit code 3: a fault of the device ended the program, and another one may go on behind that case.
// --list: FLOPs and bytes alone (benchmark_kernels_emulated also where there is no device).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "benchmarks/kernels/cases.h"
#include "benchmarks/kernels/runs.h"
#include "benchmarks/row_file.h"
#include "ops/base/error.h"
#include "ops/cuda/gemm.h"

namespace {

using namespace tsugi;
using benchmarks::Case;
using benchmarks::Maker;
using benchmarks::Outcome;
using benchmarks::Times;

struct Options {
  bool tiny = false;
  std::string kernel;  ///< part of the names to run; empty: all
  int repeats = 25;
  int compared = 100;  ///< runs whose bits are compared
  bool once = false;
  bool list = false;  ///< only what the work is
  std::string out;
};

/// Larger than any L2 cache, so that writing it empties the cache, and takes the host's launches off the critical path.
constexpr size_t kScrubBytes = size_t{512} << 20;
constexpr unsigned kSecondsOfACase = 60;
constexpr int kFault = 3;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

/// What the ceilings are, as far as they were measured: FLOP/s and B/s.
struct Ceilings {
  double flops = 0.0, bytes = 0.0;

  void learn(const Case& c, double seconds) {
    if (c.kernel == "copy") bytes = c.bytes / seconds;
    if (c.kernel == "product: square") flops = c.flops / seconds;
  }
};

/// The beginning of its line.
std::string name_and_shape(const Case& c) {
  std::string text = "{\"kernel\": \"" + c.kernel + "\", \"shape\": {";
  for (const auto& [name, value] : c.shape) {
    if (!text.ends_with('{')) text += ", ";
    text += "\"" + name + "\": " + std::to_string(value);
  }
  return text + "}";
}

/// The rest of its line.
std::string to_json(const Case& c, const Times& times, const Outcome& outcome, const Ceilings& ceilings) {
  std::string text = ", \"microseconds\": " + number(1e6 * times.median) + ", \"least\": " + number(1e6 * times.least) +
                     ", \"greatest\": " + number(1e6 * times.greatest);
  if (c.flops > 0.0)
    text += ", \"flops\": " + number(c.flops) + ", \"tflops\": " + number(1e-12 * c.flops / times.median);
  text += ", \"bytes\": " + number(c.bytes) + ", \"gigabytes_per_second\": " + number(1e-9 * c.bytes / times.median);
  const double ceiling = c.matrix ? ceilings.flops : ceilings.bytes;
  if (ceiling > 0.0) text += ", \"fraction\": " + number((c.matrix ? c.flops : c.bytes) / times.median / ceiling);
  return text + ", \"same_bits\": " + (outcome.same_bits ? "true" : "false");
}

/// The results of attention's MMA kernel at the shape that was run last, for the kernels that do the same.
class Reference {
 public:
  /// The relative difference of these from those, if there are some; else keeps them.
  std::optional<double> differs(const Case& c, const benchmarks::Work& work, Outcome outcome) {
    const std::string name = base(c.kernel);
    if (name != c.kernel) {
      if (name != name_ || c.shape != shape_) return std::nullopt;
      return benchmarks::difference(work, outcome, outcome_);
    }
    if (name.starts_with("attention_")) {
      name_ = name;
      shape_ = c.shape;
      outcome_ = std::move(outcome);
    }
    return std::nullopt;
  }

 private:
  static std::string base(std::string name) {
    for (const std::string_view ending : {"_wgmma", "_ping_pong"}) {
      if (name.ends_with(ending)) name.resize(name.size() - ending.size());
    }
    return name;
  }

  std::string name_;
  benchmarks::Shape shape_;
  Outcome outcome_;
};

int list(const Options& options) {
  for (const Case& c : benchmarks::all_cases(options.tiny)) {
    if (c.kernel.find(options.kernel) == std::string::npos) continue;
    std::cout << name_and_shape(c) << ", \"flops\": " << number(c.flops) << ", \"bytes\": " << number(c.bytes)
              << ", \"matrix\": " << (c.matrix ? "true" : "false") << "}\n";
  }
  return 0;
}

/// Runs a case and says its row. Whether its bits were the same every time.
bool run_case(const Case& c, const Options& options, cuda::Stream& stream, const cuda::Buffer& scrub,
              Ceilings& ceilings, Reference& reference, std::string& rest) {
  Maker maker(stream);
  c.make(maker);
  if (maker.work.reset) maker.work.reset(stream);
  if (options.once) {
    maker.work.run(stream);
    stream.synchronize();
    rest = "}";
    return true;
  }
  const Times times = benchmarks::measure(stream, maker.work, scrub, options.repeats);
  ceilings.learn(c, times.median);
  Outcome outcome = benchmarks::run_again(stream, maker.work, options.compared);
  const bool same = outcome.same_bits;
  rest = to_json(c, times, outcome, ceilings) + ", \"compared\": " + std::to_string(options.compared);
  if (const auto far = reference.differs(c, maker.work, std::move(outcome))) {
    rest += ", \"difference\": " + (std::isfinite(*far) ? number(*far) : "null");
  }
  rest += "}";
  return same;
}

/// The median time in an earlier row, in seconds; 0: it has none.
double seconds_in(const std::string& row) {
  const auto json = nlohmann::json::parse(row, nullptr, false);
  return json.is_object() && json.contains("microseconds") ? 1e-6 * json["microseconds"].get<double>() : 0.0;
}

int run(const Options& options) {
  std::string why;
  if (cuda::device_count(why) == 0) {
    throw Error(ExitCode::kUsage, "benchmark_kernels needs a device, but " + why);
  }
  cuda::use_device(0);
  RowFile file(options.out, kSecondsOfACase);
  const std::string header = "{\"device\": " + json_text(cuda::describe_device()) +
                             ", \"products\": " + std::to_string(cuda::gemm_library_version()) +
                             ", \"tiny\": " + (options.tiny ? "true" : "false");
  if (!file.earlier().empty() && file.earlier().front() != header + "}") {
    throw Error(ExitCode::kUsage, options.out + " has results of another device: " + file.earlier().front());
  }
  if (file.earlier().empty()) {
    file.begin(header);
    file.end("}");
  }
  std::cout << header << "}" << std::endl;
  cuda::Stream stream;
  const cuda::Buffer scrub(options.tiny ? 4096 : kScrubBytes);
  Ceilings ceilings;
  Reference reference;
  int failures = 0;
  for (const Case& c : benchmarks::all_cases(options.tiny)) {
    // The ceilings are always measured; they come before what is compared with them.
    const bool is_ceiling = c.kernel == "copy" || c.kernel == "product: square";
    if ((options.once || !is_ceiling) && c.kernel.find(options.kernel) == std::string::npos) continue;
    const std::string beginning = name_and_shape(c);
    if (file.has(beginning)) {
      const auto row =
          std::ranges::find_if(file.earlier(), [&](const auto& line) { return line.starts_with(beginning); });
      if (is_ceiling && seconds_in(*row) > 0.0) ceilings.learn(c, seconds_in(*row));
      continue;
    }
    file.begin(beginning);
    std::string rest;
    bool fault = false;
    try {
      if (!run_case(c, options, stream, scrub, ceilings, reference, rest)) ++failures;
    } catch (const Error& error) {
      rest = ", \"error\": " + json_text(error.what()) + "}";
      fault = error.code() != ExitCode::kUsage;  // of the device: nothing runs any more
      ++failures;
    }
    file.end(rest);
    if (!options.once) std::cout << beginning << rest << std::endl;
    if (fault) std::_Exit(kFault);
  }
  return failures == 0 ? 0 : 1;
}

int run_with(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--tiny") {
      options.tiny = true;
    } else if (argument == "--once") {
      options.once = true;
    } else if (argument == "--list") {
      options.list = true;
    } else if (argument == "--kernel" && i + 1 < argc) {
      options.kernel = argv[++i];
    } else if (argument == "--repeats" && i + 1 < argc) {
      options.repeats = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--compared" && i + 1 < argc) {
      options.compared = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--out" && i + 1 < argc) {
      options.out = argv[++i];
    } else {
      std::cerr << "usage: benchmark_kernels [--tiny] [--kernel TEXT] [--repeats N] [--compared N] [--once] [--list] "
                   "[--out FILE.jsonl]\n";
      return 2;
    }
  }
  return options.list ? list(options) : run(options);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_with(argc, argv);
  } catch (const Error& error) {
    std::cerr << "benchmark_kernels: " << error.what() << "\n";
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "benchmark_kernels: " << error.what() << "\n";
    return static_cast<int>(ExitCode::kInternal);
  }
}
