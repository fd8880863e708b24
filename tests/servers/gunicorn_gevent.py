from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
preload_app = True
