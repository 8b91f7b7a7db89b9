// The command line. CLI11 parses it; only command_line.cpp includes its headers, which cost a compiler five seconds.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tsugi {

/// An option or flag of a command.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  Option& show_default();  ///< the variable's value of this moment, in --help
  Option& excludes(const Option& other);
  Option& needs(const Option& other);
  Option& section(const std::string& title);  ///< of --help

  bool given() const;  ///< once the command runs
  std::string name() const;

  /// Checked before the command runs: smallest <= value <= largest. Numbers that their variable cannot hold, NaN and
  /// infinities are refused everywhere.
  template <typename Number>
  Option& range(Number smallest, Number largest) {
    if constexpr (std::is_integral_v<Number>) {
      return integer_range(static_cast<int64_t>(smallest), static_cast<int64_t>(largest));
    } else {
      return real_range(smallest, largest);
    }
  }
  Option& range_above(double bound, double largest);  ///< bound < value <= largest
  Option& positive();
  Option& non_negative();
  Option& one_of(std::initializer_list<const char*> values);

  // For lists. Without these an option takes all that follows it.
  Option& take_all();          ///< also when it is given again
  Option& one_each();          ///< one value each time it is given
  Option& separated(char by);  ///< as 1,2,3

 private:
  Option& integer_range(int64_t smallest, int64_t largest);
  Option& real_range(double smallest, double largest);

  CLI::Option* option_;
};

/// A command, or a group of its options.
class Command {
 public:
  Command(CLI::App* app, int* exit_code) : app_(app), exit_code_(exit_code) {}

  Command subcommand(const std::string& name, const std::string& description);
  void require_subcommand();

  /// `names`: "--name", "--name,--other", or "name" for a positional argument. `value` lives as long as the command
  /// line. Value: std::string, bool as a word, int, int64_t, uint64_t, double, or a vector of strings, int32_t or
  /// doubles.
  template <typename Value>
  Option option(const std::string& names, Value& value, const std::string& description);
  Option flag(const std::string& names, bool& value, const std::string& description);

  Command group(const std::string& name, const std::string& description);
  void require_one();  ///< of the group's options

  /// What it does. Its result is the exit code; it throws Error for what the user can mend.
  void run(std::function<int()> action);

 private:
  CLI::App* app_;
  int* exit_code_;
};

/// The program's commands.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& description, const std::string& version);
  ~CommandLine();

  Command root() { return {app_.get(), &exit_code_}; }

  /// Runs the command that `arguments` (without the program's name) give and returns its exit code; the usage exit
  /// code, with a message on standard error, when they give none. An unknown command or option is named before anything
  /// else that is wrong, with the nearest one that there is. What commands throw passes through.
  int run(std::vector<std::string> arguments);

 private:
  std::unique_ptr<CLI::App> app_;
  int exit_code_ = 0;
};

}  // namespace tsugi
