// How fast is each kernel on this device, and does it give the same bits in every run?
//   benchmark_kernels [--tiny] [--kernel TEXT] [--repeats N] [--once] [--list] [--out FILE.jsonl]
// One JSON object per line and case, as it ends: kernel, shape, median time of a run with a cold cache, FLOPs, bytes,
// and the fraction of the ceiling: of the largest product's rate measured here, or of the copy's. --list: FLOPs and
// bytes alone (benchmark_kernels_emulated also where there is no device).
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>

#include "benchmarks/kernels/cases.h"
#include "ops/base/error.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/timer.h"

namespace {

using namespace tsugi;
using benchmarks::Case;
using benchmarks::Maker;
using benchmarks::Work;

struct Options {
  bool tiny = false;
  std::string kernel;  ///< part of the names to run; empty: all
  int repeats = 25;
  bool once = false;
  bool list = false;  ///< only what the work is
  std::string out;
};

/// Larger than any L2 cache, so that writing it empties the cache, and takes the host's launches off the critical path.
constexpr size_t kScrubBytes = size_t{512} << 20;
/// Of every result, at most as much is compared between runs.
constexpr size_t kComparedBytes = size_t{64} << 20;
constexpr int kComparedRuns = 3;

struct Times {
  double median = 0.0, least = 0.0, greatest = 0.0;
};

Times measure(cuda::Stream& stream, const Work& work, const cuda::Buffer& scrub, int repeats) {
  cuda::Timer timer;
  std::vector<double> seconds;
  for (int i = 0; i < repeats + 2; ++i) {
    stream.fill(scrub.data(), static_cast<unsigned char>(i), scrub.bytes());
    timer.start(stream);
    work.run(stream);
    timer.stop(stream);
    stream.synchronize();
    if (i >= 2) seconds.push_back(timer.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
}

/// FNV-1a over the words of all results.
uint64_t hash_of_results(cuda::Stream& stream, const Work& work) {
  uint64_t hash = 14695981039346656037u;
  std::vector<uint32_t> host;
  for (const auto& [data, bytes] : work.results) {
    host.assign((std::min(bytes, kComparedBytes) + 3) / 4, 0);
    stream.copy(host.data(), data, std::min(bytes, kComparedBytes));
    stream.synchronize();
    for (const uint32_t word : host) hash = (hash ^ word) * 1099511628211u;
  }
  return hash;
}

bool same_bits(cuda::Stream& stream, const Work& work) {
  std::vector<uint64_t> hashes;
  for (int run = 0; run < kComparedRuns; ++run) {
    if (work.reset) work.reset(stream);
    work.run(stream);
    hashes.push_back(hash_of_results(stream, work));
  }
  return std::count(hashes.begin(), hashes.end(), hashes[0]) == std::ssize(hashes);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

/// What the ceilings are, as far as they were measured: FLOP/s and B/s.
struct Ceilings {
  double flops = 0.0, bytes = 0.0;
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

std::string to_json(const Case& c, const Times& times, bool same, const Ceilings& ceilings) {
  std::string text = name_and_shape(c);
  text += ", \"microseconds\": " + number(1e6 * times.median) + ", \"least\": " + number(1e6 * times.least) +
          ", \"greatest\": " + number(1e6 * times.greatest);
  if (c.flops > 0.0)
    text += ", \"flops\": " + number(c.flops) + ", \"tflops\": " + number(1e-12 * c.flops / times.median);
  text += ", \"bytes\": " + number(c.bytes) + ", \"gigabytes_per_second\": " + number(1e-9 * c.bytes / times.median);
  const double ceiling = c.matrix ? ceilings.flops : ceilings.bytes;
  if (ceiling > 0.0) text += ", \"fraction\": " + number((c.matrix ? c.flops : c.bytes) / times.median / ceiling);
  return text + ", \"same_bits\": " + (same ? "true" : "false") + "}";
}

int list(const Options& options) {
  for (const Case& c : benchmarks::all_cases(options.tiny)) {
    if (c.kernel.find(options.kernel) == std::string::npos) continue;
    std::cout << name_and_shape(c) << ", \"flops\": " << number(c.flops) << ", \"bytes\": " << number(c.bytes)
              << ", \"matrix\": " << (c.matrix ? "true" : "false") << "}\n";
  }
  return 0;
}

int run(const Options& options) {
  std::string why;
  if (cuda::device_count(why) == 0) {
    throw Error(ExitCode::kUsage, "benchmark_kernels needs a device, but " + why);
  }
  cuda::use_device(0);
  std::ofstream file;
  if (!options.out.empty()) {
    file.open(options.out);
    if (!file) throw Error(ExitCode::kInputOutput, options.out + " cannot be written");
  }
  const auto say = [&](const std::string& line) {
    std::cout << line << std::endl;
    if (file.is_open()) file << line << std::endl;
  };
  say("{\"device\": \"" + cuda::describe_device() + "\", \"products\": " +
      std::to_string(cuda::gemm_library_version()) + ", \"tiny\": " + (options.tiny ? "true" : "false") + "}");
  cuda::Stream stream;
  const cuda::Buffer scrub(options.tiny ? 4096 : kScrubBytes);
  Ceilings ceilings;
  int failures = 0;
  for (const Case& c : benchmarks::all_cases(options.tiny)) {
    // The ceilings are always measured; they come before what is compared with them.
    const bool is_copy = c.kernel == "copy";
    const bool is_square = c.kernel == "product: square";
    if ((options.once || (!is_copy && !is_square)) && c.kernel.find(options.kernel) == std::string::npos) continue;
    try {
      Maker maker(stream);
      c.make(maker);
      if (maker.work.reset) maker.work.reset(stream);
      if (options.once) {
        maker.work.run(stream);
        stream.synchronize();
        continue;
      }
      const Times times = measure(stream, maker.work, scrub, options.repeats);
      const bool same = same_bits(stream, maker.work);
      if (is_copy) ceilings.bytes = c.bytes / times.median;
      if (is_square) ceilings.flops = c.flops / times.median;
      if (!same) ++failures;
      say(to_json(c, times, same, ceilings));
    } catch (const Error& error) {
      std::cerr << c.kernel << ": " << error.what() << std::endl;
      ++failures;
      if (error.code() == ExitCode::kInternal) return 1;  // after a fault on the device nothing runs any more
    }
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
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
    } else if (argument == "--out" && i + 1 < argc) {
      options.out = argv[++i];
    } else {
      std::cerr
          << "usage: benchmark_kernels [--tiny] [--kernel TEXT] [--repeats N] [--once] [--list] [--out FILE.jsonl]\n";
      return 2;
    }
  }
  try {
    return options.list ? list(options) : run(options);
  } catch (const Error& error) {
    std::cerr << "benchmark_kernels: " << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
