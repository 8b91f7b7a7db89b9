#include "launch/model_folder.h"

#include <sched.h>

#include <filesystem>
#include <iostream>

#include "core/checkpoint/checkpoint.h"
#include "core/optim/sharded_adamw.h"
#include "ops/base/error.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

std::string resolve_checkpoint(const std::string& folder) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(folder)) {
    throw Error(ExitCode::kData, folder + ": there is no such folder",
                "give a checkpoint folder (RUN/checkpoints/step-…) or a run directory");
  }
  if (fs::exists(folder + "/config.json")) return folder;
  std::vector<std::string> damaged;
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const std::string found = find_checkpoint(*alone, folder, damaged);
  for (const std::string& what : damaged) std::cerr << "tsugi: checkpoint passed over: " << what << "\n";
  if (found.empty()) {
    throw Error(ExitCode::kData, folder + ": neither a checkpoint folder nor a run directory with an intact one",
                "give a checkpoint folder (RUN/checkpoints/step-…) or a run directory");
  }
  return found;
}

ModelFolder open_model(const std::string& folder, int threads) {
  ModelFolder opened;
  opened.path = resolve_checkpoint(folder);
  if (std::filesystem::exists(opened.path + "/manifest.json")) verify_checkpoint(opened.path);
  opened.description = load_huggingface_config(opened.path);
  opened.memory = std::make_unique<HeapMemory>();
  opened.pool = std::make_unique<ThreadPool>(threads > 0 ? threads : available_cpus());
  opened.store = std::make_unique<ParameterStore>();
  opened.model = std::make_unique<Transformer>(opened.description.model, *opened.store);
  const Context context = opened.context();
  opened.store->allocate(context, DType::kF32);
  fill_zero(context, opened.store->working());

  std::vector<StateRange> ranges;
  for (size_t t = 0; t < opened.store->tensors().size(); ++t) {
    StateRange whole;
    whole.tensor = static_cast<int>(t);
    whole.length = opened.store->tensors()[t].elements();
    whole.master = opened.store->value(static_cast<int>(t)).data<float>();
    ranges.push_back(whole);
  }
  load_weights(opened.path, saved_tensors(*opened.store), ranges);
  return opened;
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const std::string& purpose) {
  const std::string path = folder + "/tokenizer.json";
  if (!std::filesystem::exists(path)) {
    throw Error(ExitCode::kData, folder + " has no tokenizer.json, which " + purpose + " needs",
                "put the tokenizer.json of the training data beside config.json");
  }
  return load_tokenizer(path);
}

}  // namespace tsugi
