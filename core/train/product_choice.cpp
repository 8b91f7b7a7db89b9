#include "core/train/product_choice.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "core/checkpoint/together.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

constexpr int64_t kMostTableBytes = int64_t{4} << 20;

}  // namespace

std::string choose_products(Communicator& communicator, DeviceOperators& device, const ComputeConfig& config,
                            KeptProducts kept, const std::string& run_directory) {
  if (config.products() == ComputeConfig::FIRST) {
    device.forget_algorithms();
    return {};
  }
  const auto start = std::chrono::steady_clock::now();
  const bool first = communicator.rank() == 0;
  const std::string file = run_directory.empty() ? "" : run_directory + "/" + kProductsFile;
  together(communicator, [&] {
    if (!first || !kept.table.empty() || file.empty() || !std::filesystem::exists(file)) return;
    kept = {read_file(file, kMostTableBytes), file};
  });
  kept.table = communicator.broadcast(kept.table);
  kept.origin = communicator.broadcast(kept.origin);

  std::string table = kept.table;
  const std::vector<std::string> devices = communicator.all_gather_strings(device.describe());
  bool chosen = false;
  const auto choose = [&](bool here) {
    together(communicator, [&] {
      if (here) table = device.choose_algorithms(table, kept.origin);
    });
    chosen = chosen || here;
  };
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    const auto own = devices.begin() + static_cast<int64_t>(rank);
    if (std::find(devices.begin(), own, devices[rank]) != own) continue;  // a lower rank has the same
    choose(communicator.rank() == static_cast<int>(rank));
    table = communicator.broadcast(table, static_cast<int>(rank));
  }
  choose(!chosen);

  if (table == kept.table) return table;
  LOG_IF(WARNING, first && !kept.table.empty())
      << kept.origin
      << " does not say all that this run needs of products, or not for these devices: what it lacks was "
      << "timed anew, so bits may differ from those of a run that goes by it";
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  LOG_IF(INFO, first) << "timed algorithms of products for " << seconds.count() << " s"
                      << (file.empty() ? "" : "; chosen ones: " + file);
  together(communicator, [&] {
    if (first && !file.empty()) write_file_durably(file, table);
  });
  return table;
}

}  // namespace tsugi
