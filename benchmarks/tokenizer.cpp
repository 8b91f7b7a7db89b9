// How fast one thread encodes text that it has not seen: benchmark_tokenizer TOKENIZER.json WARM.jsonl TEXT.jsonl
// ROUNDS prints {"bytes", "tokens", "seconds": […]}. Each round loads the tokenizer anew, encodes the documents
// ({"text": …} lines) of WARM and then, timed, those of TEXT. Time is the thread's CPU time: the machine may be shared.
// benchmarks/tokenizer.py runs it beside Hugging Face's.
#include "core/data/tokenizer/tokenizer.h"

#include <glog/logging.h>

#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/data/json_lines.h"

namespace tsugi {
namespace {

std::vector<std::string> read_texts(const std::string& path) {
  std::vector<std::string> texts;
  for_each_json_line(path, [&](const JsonValue& line) { texts.push_back(line.require_string("text")); });
  return texts;
}

size_t encode(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  size_t tokens = 0;
  for (const std::string& text : texts) tokens += tokenizer.encode(text).size();
  return tokens;
}

double cpu_seconds() {
  timespec time{};
  PCHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void measure(const std::string& path, const std::string& warm_path, const std::string& text_path, int rounds) {
  const std::vector<std::string> warm = read_texts(warm_path);
  const std::vector<std::string> texts = read_texts(text_path);
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  size_t tokens = 0;
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path);
    encode(*tokenizer, warm);
    const double start = cpu_seconds();
    tokens = encode(*tokenizer, texts);
    seconds.push_back(cpu_seconds() - start);
  }
  std::cout << nlohmann::ordered_json({{"bytes", bytes}, {"tokens", tokens}, {"seconds", seconds}}).dump() << std::endl;
}

}  // namespace
}  // namespace tsugi

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: benchmark_tokenizer TOKENIZER.json WARM.jsonl TEXT.jsonl ROUNDS\n";
    return static_cast<int>(tsugi::ExitCode::kUsage);
  }
  try {
    tsugi::measure(argv[1], argv[2], argv[3], std::max(1, std::atoi(argv[4])));
  } catch (const tsugi::Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}
