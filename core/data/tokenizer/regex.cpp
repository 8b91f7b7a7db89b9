#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/data/tokenizer/regex.h"

#include <glog/logging.h>
#include <pcre2.h>

#include <mutex>

#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 12;
// Backtracking points of one match; PCRE2's own default. Published patterns need a handful.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 1 << 16;
constexpr size_t kJitStackStart = 32 << 10;
constexpr size_t kJitStackMost = 8 << 20;

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  return pcre2_get_error_message(code, text, sizeof(text)) < 0 ? "error " + std::to_string(code)
                                                               : std::string(reinterpret_cast<char*>(text));
}

/// What one thread needs to match with one expression.
struct Workspace {
  explicit Workspace(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)) {
    CHECK(data != nullptr && context != nullptr && stack != nullptr);
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Workspace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

}  // namespace

struct Regex::Compiled {
  ~Compiled() { pcre2_code_free(code); }

  // Workspaces are costly to make for texts of a few bytes. There are as many as there were searches at once.
  std::unique_ptr<Workspace> lease() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (idle.empty()) return std::make_unique<Workspace>(code);
    std::unique_ptr<Workspace> workspace = std::move(idle.back());
    idle.pop_back();
    return workspace;
  }
  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(std::move(workspace));
  }

  pcre2_code* code = nullptr;
  std::mutex mutex;
  std::vector<std::unique_ptr<Workspace>> idle;
};

Regex::Regex() : compiled_(std::make_unique<Compiled>()) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Regex(std::string_view pattern) : Regex() {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(ExitCode::kData, "the pattern has " + std::to_string(pattern.size()) + " bytes; at most " +
                                     std::to_string(kMaxPatternBytes) + " are read");
  }
  compile(translate_regex(pattern));
}

Regex Regex::literal(std::string_view text) {
  Regex result;
  if (text.size() > kMaxPatternBytes) {
    throw Error(ExitCode::kData, "the text to match has " + std::to_string(text.size()) + " bytes; at most " +
                                     std::to_string(kMaxPatternBytes) + " are read");
  }
  std::string quoted;
  for (const char c : text) {
    // A backslash before an ASCII character that is no letter or digit always stands for the character.
    const bool plain = (c & 0x80) != 0 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!plain) quoted += '\\';
    quoted += c;
  }
  result.compile(quoted);
  return result;
}

void Regex::compile(const std::string& pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::string text = "(*LF)" + pattern;  // what `.` does not match, whatever the library was built for
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP, &code,
                                  &offset, nullptr);
  if (compiled_->code == nullptr) throw Error(ExitCode::kData, "the pattern is not valid: " + message_of(code));
  // Without JIT (an architecture that has none) matching is slower, not different.
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);
}

std::vector<Regex::Match> Regex::find_all(std::string_view text) const {
  std::unique_ptr<Workspace> workspace = compiled_->lease();
  std::vector<Match> matches;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (size_t at = 0; at <= text.size();) {
    const int found =
        pcre2_match(compiled_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, workspace->data, workspace->context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      throw Error(ExitCode::kData, "byte " + std::to_string(at) + ": the pattern gave up here: " + message_of(found));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(workspace->data);
    matches.push_back({range[0], range[1]});
    at = range[1];
    if (range[0] == range[1]) {
      ++at;
      while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) ++at;
    }
  }
  compiled_->give_back(std::move(workspace));
  return matches;
}

}  // namespace tsugi
