# frozen_string_literal: true

require "erb"
require "json"
require "openssl"
require "rack/utils"
require "sinatra/base"
require_relative "database"

# Shows where it runs and the messages of its database; takes new ones.
class App < Sinatra::Base
  set :logging, true
  # Nothing here needs a session, and a page behind any host name is fine.
  disable :sessions, :static

  PLATFORM = %w[RACK APP SERVICE RELEASE BUILD].freeze

  helpers do
    # A form of ours carries this; nobody without SECRET_KEY can make one up.
    def token
      OpenSSL::HMAC.hexdigest("SHA256", ENV.fetch("SECRET_KEY"), "messages")
    end

    def platform
      PLATFORM.to_h { |name| [name.downcase, ENV.fetch(name, "")] }
    end

    # nil as long as the database is not migrated.
    def messages
      Database.connect do |connection|
        next unless Database.migrated?(connection)

        connection.exec("SELECT id, body, read_at IS NOT NULL AS read FROM messages ORDER BY id DESC LIMIT 20").map do |row|
          { "id" => row["id"].to_i, "body" => row["body"], "read" => row["read"] == "t" }
        end
      end
    end

    def h(text)
      ERB::Util.html_escape(text)
    end
  end

  # The process serves; whether the database does is not for a restart of this process to mend.
  get "/health" do
    content_type :text
    "ok\n"
  end

  get "/" do
    rows = messages
    state = rows ? "migrated" : "not migrated"
    if request.accept?("text/html")
      erb :index, locals: { rows: rows, state: state }
    else
      content_type :json
      JSON.generate(platform.merge("greeting" => ENV.fetch("GREETING", ""), "database" => state, "messages" => rows || []))
    end
  end

  post "/messages" do
    halt 403, "the form is not from this page\n" unless Rack::Utils.secure_compare(params["token"].to_s, token)
    body = params["body"].to_s.strip
    halt 422, "a message has between 1 and 500 characters\n" unless (1..500).cover?(body.length)

    Database.connect do |connection|
      halt 409, "the database is not migrated\n" unless Database.migrated?(connection)
      connection.exec_params("INSERT INTO messages (body) VALUES ($1)", [body])
    end
    redirect to("/"), 303
  end

  error PG::Error do
    logger.error(env["sinatra.error"].message.strip)
    content_type :text
    halt 503, "the database does not answer\n"
  end
  # Answer with the handler above instead of a trace, in tests as well; one line in the log will do.
  disable :show_exceptions, :raise_errors, :dump_errors

  error do
    logger.error(env["sinatra.error"].full_message(highlight: false))
    content_type :text
    halt 500, "something went wrong, the log says what\n"
  end

  template :index do
    <<~HTML
      <!doctype html>
      <meta charset="utf-8">
      <title><%= h platform["rack"] %>: myapp</title>
      <style>body { font: 1rem/1.5 system-ui; margin: 3rem auto; max-width: 40rem } td { padding-right: 2rem }</style>
      <h1><%= h ENV.fetch("GREETING", "") %> from <%= h platform["rack"] %></h1>
      <table>
      <% platform.each do |name, value| %><tr><td><%= name %><td><code><%= h value %></code>
      <% end %><tr><td>database<td><%= state %>
      </table>
      <% if rows %>
      <ul>
      <% rows.each do |row| %><li><%= h row["body"] %><%= " (read)" if row["read"] %>
      <% end %></ul>
      <form method="post" action="/messages">
      <input type="hidden" name="token" value="<%= token %>">
      <input name="body" maxlength="500" required> <button>Write</button>
      </form>
      <% else %>
      <p>To create the tables: <code>convox run web rake db:migrate</code></p>
      <% end %>
    HTML
  end
end
