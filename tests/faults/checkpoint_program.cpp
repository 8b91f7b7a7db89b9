// A job that does nothing but checkpoints, to be killed, starved of disk space and lied to by the scripts beside it.
//
//   checkpoint_program save RUN STEP FLOATS KEEP   a whole attempt: finds the newest checkpoint, checks its content,
//                                                  saves step STEP, keeps the newest KEEP
//   checkpoint_program find RUN FLOATS             says which step there is, after checking its content
//
// A model of FLOATS parameters whose state is a function of the step. Exits with the code of the Error. Runs alone or
// under mpirun, each rank with its share.
#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/together.h"
#include "dist/world.h"

namespace tsugi {
namespace {

struct Share {
  std::vector<SavedTensor> tensors;
  std::vector<StateRange> ranges;
  std::vector<std::vector<float>> values;

  Share(int64_t floats, int rank, int ranks) {
    tensors = {
        {"transformer.wte.weight", {floats}}, {"transformer.ln_f.bias", {11}}, {"transformer.ln_f.weight", {11}}};
    for (int t = 0; t < 3; ++t) {
      const int64_t elements = tensors[static_cast<size_t>(t)].shape[0];
      const int64_t begin = elements * rank / ranks;
      const int64_t length = elements * (rank + 1) / ranks - begin;
      for (int part = 0; part < 3; ++part) values.emplace_back(static_cast<size_t>(length));
      float* const master = values[values.size() - 3].data();
      ranges.push_back({t, begin, length, master, values[values.size() - 2].data(), values.back().data()});
    }
  }

  /// Exact in fp32, and another one for every step, part and element (up to a period).
  static float value(int64_t step, int part, int64_t index) {
    return static_cast<float>(step) + 0.25f * static_cast<float>(part) + 64.0f * static_cast<float>(index % 1021);
  }
  template <class F>
  void for_each(F&& f) {
    for (const StateRange& range : ranges) {
      for (int64_t i = 0; i < range.length; ++i) {
        f(range.master[i], 0, range.offset + i);
        f(range.exp_avg[i], 1, range.offset + i);
        f(range.exp_avg_sq[i], 2, range.offset + i);
      }
    }
  }
  void fill(int64_t step) {
    for_each([step](float& x, int part, int64_t index) { x = value(step, part, index); });
  }
  void check(const std::string& path, int64_t step) {
    for_each([&](float x, int part, int64_t index) {
      if (x != value(step, part, index)) throw Error(ExitCode::kInternal, path + ": wrong content was loaded");
    });
  }
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The newest checkpoint's step, or 0. Whatever was found has the right content, or this throws.
int64_t find(Communicator& communicator, const std::string& run, int64_t floats) {
  const bool root = communicator.rank() == 0;
  auto begin = std::chrono::steady_clock::now();
  std::vector<std::string> damaged;
  const std::string path = find_checkpoint(communicator, run, damaged);
  for (const std::string& reason : damaged) {
    if (root) std::cout << "damaged: " << reason << std::endl;
  }
  if (path.empty()) return 0;
  if (root) std::cout << "verified in " << seconds_since(begin) << " s" << std::endl;
  begin = std::chrono::steady_clock::now();
  Share share(floats, communicator.rank(), communicator.size());
  int64_t step = 0;
  together(communicator, [&] { step = load_checkpoint(path, share.tensors, share.ranges).step; });
  if (root) std::cout << "loaded in " << seconds_since(begin) << " s" << std::endl;
  together(communicator, [&] { share.check(path, step); });
  return step;
}

void save(Communicator& communicator, const std::string& run, int64_t step, int64_t floats, int keep) {
  const bool root = communicator.rank() == 0;
  const RunLease lease = take_lease(communicator, run);
  record_start(communicator, lease, find(communicator, run, floats));
  Share share(floats, communicator.rank(), communicator.size());
  share.fill(step);
  RunState state;
  state.step = step;
  state.config_text = "model {}";
  communicator.barrier();
  const auto begin = std::chrono::steady_clock::now();
  save_checkpoint(communicator, lease, state, share.tensors, share.ranges,
                  {{"config.json", "{\"model_type\": \"none\"}"}});
  if (root) std::cout << "saved " << step << " in " << seconds_since(begin) << " s" << std::endl;
  retain_checkpoints(communicator, lease, keep);
  if (root) std::cout << "done" << std::endl;
}

int run(const std::vector<std::string>& words) {
  World world({.threads = 1});
  try {
    if (words.size() == 5 && words[0] == "save") {
      save(world.communicator(), words[1], std::stoll(words[2]), std::stoll(words[3]), std::stoi(words[4]));
    } else if (words.size() == 3 && words[0] == "find") {
      const int64_t step = find(world.communicator(), words[1], std::stoll(words[2]));
      if (world.rank() == 0) std::cout << "step " << step << std::endl;
    } else {
      std::cerr << "usage: checkpoint_program save RUN STEP FLOATS KEEP | find RUN FLOATS" << std::endl;
      return static_cast<int>(ExitCode::kUsage);
    }
  } catch (const Error& error) {
    if (world.rank() == 0) std::cerr << "error: " << error.what() << std::endl;
    return static_cast<int>(error.code());
  }
  return 0;
}

}  // namespace
}  // namespace tsugi

int main(int count, char** words) {
  google::InitGoogleLogging(words[0]);
  FLAGS_logtostderr = true;
  return tsugi::run({words + 1, words + count});
}
