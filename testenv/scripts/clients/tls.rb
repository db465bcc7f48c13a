# dalli with TLS and SASL, the binary protocol. Usage: tls.rb HOST PORT CA USER PASSWORD READER
# READER has the same password, and may not write.
require "dalli"
require "openssl"
Dalli.logger.level = Logger::FATAL
context = OpenSSL::SSL::SSLContext.new
context.ca_file = ARGV[2]
context.verify_mode = OpenSSL::SSL::VERIFY_PEER
login = lambda do |user|
  Dalli::Client.new("#{ARGV[0]}:#{ARGV[1]}", protocol: :binary, ssl_context: context, username: user, password: ARGV[4])
end
c, reader = login.call(ARGV[3]), login.call(ARGV[5])
big = "x" * 900_000
raise "a large value" unless c.set("tls-rb", big, 0, raw: true) && c.get("tls-rb", raw: true) == big
raise "a reader does not read" unless reader.get("tls-rb", raw: true) == big
begin
  stored = reader.set("tls-rb", "y", 0, raw: true)
rescue Dalli::DalliError
  stored = false
end
raise "a reader writes" if stored || c.get("tls-rb", raw: true) != big
puts "ok"
