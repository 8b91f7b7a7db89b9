// A training step that has run before asks the heap for its batches and for messages between ranks, and for nothing
// else: as often for a deep model as for a shallow one. Counts every call of operator new, aligned_alloc and
// posix_memalign.
#include <link.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <limits>
#include <new>
#include <string>
#include <string_view>

#include "core/config/config.h"
#include "core/objective/causal_lm.h"
#include "core/train/engine.h"
#include "ops/matmul/matmul.h"

namespace {

std::atomic<int64_t> asked{0};

/// Where oneDNN's code lies, if its calls are not to be counted.
struct {
  uintptr_t begin = 0, end = 0;
} onednn;

/// Its primitives, which native bf16 needs, ask the heap whenever they are executed.
void leave_out_onednn() {
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void*) {
        if (std::string_view(info->dlpi_name).find("libdnnl") == std::string_view::npos) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
          onednn = {info->dlpi_addr + part.p_vaddr, info->dlpi_addr + part.p_vaddr + part.p_memsz};
        }
        return 1;
      },
      nullptr);
}

void count(const void* caller) {
  const auto address = reinterpret_cast<uintptr_t>(caller);
  if (address < onednn.begin || address >= onednn.end) ++asked;
}

void* counted(size_t bytes, const void* caller) {
  count(caller);
  if (void* const block = std::malloc(bytes)) return block;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t bytes) { return counted(bytes, __builtin_return_address(0)); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) noexcept {
  ++asked;
  return memalign(alignment, bytes);
}
extern "C" int posix_memalign(void** block, size_t alignment, size_t bytes) noexcept {
  count(__builtin_return_address(0));
  *block = memalign(alignment, bytes);
  return *block == nullptr ? ENOMEM : 0;
}

namespace tsugi {
namespace {

// How often a step of one rank may ask the heap. An operator of a block that did would do so 48 times.
constexpr int64_t kStep = 24;
constexpr int64_t kBatch = 10;  // for each further micro-batch

TokenFile write_tokens(const std::string& path) {
  TokenFileWriter writer(path, 37);
  for (int d = 0; d < 100; ++d) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < 40; ++i) tokens.push_back((d + i * i) % 37);
    writer.add_document(tokens);
  }
  writer.finish();
  return TokenFile::open(path);
}

/// What one of the last four steps of such a run asks for: the least, since a thread that meets the shape of a product
/// for the first time, which may be late, prepares it.
int64_t asked_in_a_step(const std::string& tokens, const std::string& model, int layers, int micro_batches,
                        const std::string& more) {
  RunConfig config;
  parse_config(
      "steps: 9 data { train: 'tokens' } batch { micro_batch: 2 micro_batches: " + std::to_string(micro_batches) +
          " } optimizer { learning_rate: 1e-3 } model { layers: " + std::to_string(layers) +
          " heads: 2 width: 24 context: 16 vocabulary: 37 dropout: 0.1 " + model + " } " + more,
      "program", {}, config);
  validate_run(config);
  CausalLm objective(TokenFile::open(tokens), TokenFile::open(tokens), 37, 16, config.seed());
  ThreadPool pool(2);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  Engine engine(pool, *alone, config, objective, {});
  engine.optimizer().initialize(config.seed());
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t step = 0; step < config.steps(); ++step) {
    const int64_t before = asked;
    engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), 1e-3f);
    if (step >= 5) least = std::min(least, asked - before);
  }
  return least;
}

int run(const std::string& tokens) {
  write_tokens(tokens);
  if (matmul_bf16_path() == std::string("native")) leave_out_onednn();
  bool right = true;
  std::cout << "calls of the heap in a step:  2 layers  6 layers  6 layers, 4 micro-batches\n";
  for (const std::string model : {"family: GPT2", "family: LLAMA key_heads: 1"}) {
    for (const std::string more : {"", "numerics { recompute: true }", "numerics { compute: BF16 }"}) {
      const int64_t shallow = asked_in_a_step(tokens, model, 2, 1, more);
      const int64_t deep = asked_in_a_step(tokens, model, 6, 1, more);
      const int64_t many = asked_in_a_step(tokens, model, 6, 4, more);
      std::cout << model << ' ' << more << ": " << shallow << ' ' << deep << ' ' << many << '\n';
      right = right && shallow <= kStep && deep <= kStep && many <= kStep + 3 * kBatch;
    }
  }
  return right ? 0 : 1;
}

}  // namespace
}  // namespace tsugi

int main() try {
  const std::string tokens =
      (std::filesystem::temp_directory_path() / ("step_allocations." + std::to_string(getpid()) + ".bin")).string();
  const int status = tsugi::run(tokens);
  std::filesystem::remove(tokens);
  return status;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
