# frozen_string_literal: true

require_relative "helper"

class AppTest < DatabaseTest
  include Rack::Test::Methods

  def app = App

  def page
    get "/", {}, "HTTP_ACCEPT" => "application/json"
    JSON.parse(last_response.body)
  end

  def form_token
    get "/"
    last_response.body[/name="token" value="(\h+)"/, 1]
  end

  def test_health_needs_no_database
    get "/health"
    assert_equal [200, "ok\n"], [last_response.status, last_response.body]
  end

  def test_answers_before_the_first_migration
    get "/"
    assert_equal 200, last_response.status
    assert_includes last_response.body, "not migrated"
    assert_equal [], page["messages"]
  end

  def test_shows_the_rows_of_the_database
    migrate
    assert_equal "migrated", page["database"]
    assert_equal ["The first migration wrote this row."], page["messages"].map { |row| row["body"] }
  end

  def test_shows_where_it_runs
    assert_equal ENV.fetch("RELEASE", ""), page["release"]
    assert_equal ENV.fetch("RACK", ""), page["rack"]
  end

  def test_takes_a_message_and_escapes_it
    migrate
    post "/messages", "token" => form_token, "body" => " <b>hi</b> "
    assert_equal 303, last_response.status
    follow_redirect!
    assert_includes last_response.body, "&lt;b&gt;hi&lt;/b&gt;"
    assert_equal 2, page["messages"].length
  end

  def test_refuses_a_message_without_the_token
    migrate
    post "/messages", "token" => "made up", "body" => "hi"
    assert_equal 403, last_response.status
    assert_equal 1, page["messages"].length
  end

  def test_refuses_an_empty_message
    migrate
    post "/messages", "token" => form_token, "body" => " "
    assert_equal 422, last_response.status
  end

  def test_says_so_when_the_database_is_away
    url = ENV.fetch("DATABASE_URL")
    ENV["DATABASE_URL"] = "postgres://127.0.0.1:1/none"
    get "/"
    assert_equal 503, last_response.status
    assert_equal "the database does not answer\n", last_response.body
  ensure
    ENV["DATABASE_URL"] = url
  end
end
