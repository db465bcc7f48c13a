# dalli, the binary protocol with SASL. Usage: sasl.rb HOST PORT USER PASSWORD
require "dalli"
server = "#{ARGV[0]}:#{ARGV[1]}"
Dalli.logger.level = Logger::FATAL
c = Dalli::Client.new(server, protocol: :binary, username: ARGV[2], password: ARGV[3])
raise "with the password" unless c.set("sasl", "v") && c.get("sasl") == "v" && c.delete("sasl")
[{username: ARGV[2], password: ARGV[3] + "x"}, {}].each do |wrong|
  begin
    stored = Dalli::Client.new(server, {protocol: :binary, socket_max_failures: 0}.merge(wrong)).set("sasl", "v")
  rescue Dalli::DalliError
    stored = false
  end
  raise "somebody was let in without the password" if stored
end
puts "ok"
